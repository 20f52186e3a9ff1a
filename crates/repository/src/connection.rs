//! One connection out of a pool, whichever database it leads to.
//!
//! A query is written once, inside `on!`, which expands it for every backend. `read!` lends a
//! connection to a block; `write!` runs a block as one transaction, `write_at_once!` does so in one
//! piece.

use std::time::Duration;

use coredock_domain::blocking;
use deadpool::managed::{Manager, Object};
use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::failure::Failure;
use crate::postgres::{self, Postgres, PostgresManager};
use crate::sqlite::{self, SqliteManager};

/// A connection lent for one read or one transaction.
pub(crate) enum Connection {
    Sqlite(Lent<SqliteManager>),
    Postgres(Box<LentPostgres>),
}

/// A pooled connection that goes back to its pool only when it was given back. One that is dropped
/// half-way, because its future was cancelled or a rollback failed, is closed instead: what it had
/// begun ends with it, and nobody inherits its state.
pub(crate) struct Lent<M: Manager> {
    object: Option<Object<M>>,
}

impl<M: Manager> Lent<M> {
    /// The connection itself.
    #[expect(clippy::expect_used, reason = "the object is taken only by value or on drop")]
    pub(crate) fn get(&mut self) -> &mut M::Type {
        self.object.as_mut().expect("a lent connection is there until it is given back")
    }

    fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl<M: Manager> From<Object<M>> for Lent<M> {
    fn from(object: Object<M>) -> Self {
        Self { object: Some(object) }
    }
}

impl<M: Manager> Drop for Lent<M> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// A connection to a `PostgreSQL` server. Once a statement was given up it is of no more use: its
/// answer may still come.
pub(crate) struct LentPostgres {
    lent: Lent<PostgresManager>,
    postgres: Postgres,
    given_up: bool,
    /// The transaction that was asked for is yet to begin: with its first statement, which spares
    /// the wait for an answer.
    begins: bool,
}

/// How long the answer to a statement is waited for.
pub(crate) struct Patience<'a> {
    limit: Duration,
    given_up: &'a mut bool,
}

impl LentPostgres {
    pub(crate) fn new(lent: Lent<PostgresManager>, postgres: Postgres) -> Self {
        Self { lent, postgres, given_up: false, begins: false }
    }

    /// The connection itself, and the patience to use it with.
    fn parts(&mut self) -> (&mut AsyncPgConnection, Patience<'_>) {
        let patience = Patience { limit: self.postgres.patience, given_up: &mut self.given_up };
        (self.lent.get(), patience)
    }

    /// The same, once the transaction has begun if one was asked for.
    pub(crate) async fn begun(&mut self) -> QueryResult<(&mut AsyncPgConnection, Patience<'_>)> {
        if std::mem::take(&mut self.begins) {
            let (connection, patience) = self.parts();
            patience.wait(postgres::begin(connection)).await?;
        }
        Ok(self.parts())
    }

    /// Runs statements; a transaction that was asked for begins with them. Should the server refuse
    /// to begin one, each of them would be a transaction by itself, although the caller hears of a
    /// failure: they are harmless by themselves.
    pub(crate) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&AsyncPgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        let begins = std::mem::take(&mut self.begins);
        let (connection, patience) = self.parts();
        let connection = &*connection;
        if begins {
            let both = in_order(postgres::begin(connection), statement(connection));
            patience.wait(both).await.map(|((), answer)| answer)
        } else {
            patience.wait(statement(connection)).await
        }
    }

    /// Commits or rolls back, whatever has begun.
    async fn end(&mut self, end: &str) -> QueryResult<()> {
        if std::mem::take(&mut self.begins) {
            return Ok(());
        }
        let (connection, patience) = self.parts();
        patience.wait((&*connection).batch_execute(end)).await
    }

    fn give_back(self) {
        if !self.given_up && !self.postgres.is_surplus() {
            self.lent.give_back();
        }
    }
}

impl Patience<'_> {
    /// Waits for the answer, but not for ever: a server that stalls must not hold a request.
    pub(crate) async fn wait<T>(
        self,
        answer: impl Future<Output = QueryResult<T>>,
    ) -> QueryResult<T> {
        if let Ok(answered) = tokio::time::timeout(self.limit, answer).await {
            return answered;
        }
        *self.given_up = true;
        let text = Box::new("the database did not answer in time".to_owned());
        Err(Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand, text))
    }
}

/// Runs one query, written once, on whichever database the connection leads to.
macro_rules! on {
    ($connection:expr, |$c:ident| $query:expr) => {
        match $connection {
            $crate::connection::Connection::Sqlite(lent) => {
                let $c = lent.get();
                $query.await
            }
            $crate::connection::Connection::Postgres(lent) => match lent.begun().await {
                Ok(($c, patience)) => patience.wait($query).await,
                Err(error) => Err(error),
            },
        }
    };
}

/// Runs two queries of one transaction, of which the second needs no answer to the first, in this
/// order. `PostgreSQL` gets both at once, and still gives each a snapshot of its own.
macro_rules! both {
    ($connection:expr, |$c:ident| ($first:expr, $second:expr)) => {
        $crate::connection::locked!($connection, |$c| (
            ::std::future::ready(Ok(())),
            $first,
            $second
        ))
    };
}

/// Waits for a lock and then runs one query, or two of which the second needs no answer to the
/// first. `PostgreSQL` gets all at once, but looks at the tables for a query only when it has the
/// lock; `SQLite` has one writer and needs none. Not all of them need the connection.
macro_rules! locked {
    ($connection:expr, |$c:ident| ($lock:expr, $first:expr, $second:expr)) => {
        match $connection {
            $crate::connection::Connection::Sqlite(lent) => {
                let $c = lent.get();
                match $first.await {
                    Ok(first) => $second.await.map(|second| (first, second)),
                    Err(error) => Err(error),
                }
            }
            $crate::connection::Connection::Postgres(lent) => {
                let queries = async |connection: &::diesel_async::AsyncPgConnection| {
                    let lock = {
                        let $c = connection;
                        let _ = $c;
                        $lock
                    };
                    let first = async {
                        let $c = &mut &*connection;
                        $first.await
                    };
                    let second = async {
                        let $c = &mut &*connection;
                        let _ = &$c;
                        $second.await
                    };
                    let both = $crate::connection::in_order(first, second);
                    $crate::connection::in_order(lock, both).await
                };
                lent.run(queries).await.map(|((), answers)| answers)
            }
        }
    };
    ($connection:expr, |$c:ident| ($lock:expr, $query:expr)) => {
        $crate::connection::locked!($connection, |$c| ($lock, $query, ::std::future::ready(Ok(()))))
            .map(|(answer, ())| answer)
    };
}

/// Runs what works on a connection as one operation of the database: in a span of its name, its
/// failure counted.
macro_rules! operation {
    ($database:expr, $operation:literal, $work:expr) => {{
        let span = ::tracing::debug_span!(concat!("db.", $operation));
        ::tracing::Instrument::instrument($work, span).await.map_err(
            |failure: $crate::failure::Failure| $database.count(failure.during($operation)),
        )
    }};
}

/// Lends a connection to a block that only reads. The block ends with `Ok(…)`.
macro_rules! read {
    ($database:expr, $operation:literal, |$connection:ident| $block:block) => {
        $crate::connection::lend!($database.reader(), $database, $operation, |$connection| $block)
    };
}

/// Runs a block of one statement that writes, and is a transaction by itself.
macro_rules! one_statement {
    ($database:expr, $operation:literal, |$connection:ident| $block:block) => {
        $crate::connection::lend!($database.writer(), $database, $operation, |$connection| $block)
    };
}

/// Lends a connection to a block, without a transaction around it.
macro_rules! lend {
    ($lent:expr, $database:expr, $operation:literal, |$connection:ident| $block:block) => {
        $crate::connection::operation!($database, $operation, async {
            let mut connection = $lent.await?;
            let $connection = &mut connection;
            let result: Result<_, $crate::failure::Failure> = async { $block }.await;
            connection.give_back();
            result
        })
    };
}

/// Runs a block as one transaction: its `Ok` is committed, its `Err` rolled back.
macro_rules! write {
    ($database:expr, $operation:literal, |$connection:ident| $block:block) => {
        $crate::connection::operation!($database, $operation, async {
            let mut connection = $database.writer().await?;
            connection.begin().await?;
            let $connection = &mut connection;
            let result: Result<_, $crate::failure::Failure> = async { $block }.await;
            connection.finish(result).await
        })
    };
}

/// Like `write!`, for a block that owns everything it works with: on `SQLite` the transaction visits
/// the blocking pool once instead of once per statement. It runs to its end even if nobody waits.
macro_rules! write_at_once {
    ($database:expr, $operation:literal, |$connection:ident| $block:block) => {
        $crate::connection::operation!($database, $operation, async {
            let mut connection = $database.writer().await?;
            let blocks = connection.blocks();
            let transaction = async move {
                connection.begin().await?;
                let $connection = &mut connection;
                let result: Result<_, $crate::failure::Failure> = async { $block }.await;
                connection.finish(result).await
            };
            $crate::connection::at_once(blocks, transaction).await
        })
    };
}

pub(crate) use {both, lend, locked, on, one_statement, operation, read, write, write_at_once};

/// Sends what both send in this order: the first is always polled first, and a statement that is not
/// prepared yet keeps the next one from being sent. The failure of the first, which is the cause of
/// the other, counts.
pub(crate) async fn in_order<A, B>(
    first: impl Future<Output = QueryResult<A>>,
    second: impl Future<Output = QueryResult<B>>,
) -> QueryResult<(A, B)> {
    let (first, second) = futures::future::join(first, second).await;
    Ok((first?, second?))
}

/// Runs what blocks in one visit to the blocking pool, anything else where it is.
pub(crate) async fn at_once<T: Send + 'static>(
    blocks: bool,
    transaction: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    if blocks && !blocking::is_allowed() {
        let visit = tokio::task::spawn_blocking(|| sqlite::run_here(transaction));
        visit.await.map_err(Failure::pool)?
    } else {
        transaction.await
    }
}

impl Connection {
    /// Gives the connection back to its pool.
    pub(crate) fn give_back(self) {
        match self {
            Self::Sqlite(lent) => lent.give_back(),
            Self::Postgres(lent) => lent.give_back(),
        }
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(lent) => Ok(sqlite::begin(lent.get()).await?),
            Self::Postgres(lent) => {
                lent.begins = true;
                Ok(())
            }
        }
    }

    /// Commits or rolls back, and gives the connection back if that went well.
    pub(crate) async fn finish<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if result.is_ok() {
            self.commit().await?;
            self.give_back();
        } else if !self.is_given_up() && self.roll_back().await.is_ok() {
            // A failed rollback says less than what led to it; the connection is closed instead.
            self.give_back();
        }
        result
    }

    /// Lets one transaction at a time past here until it ends. Every transaction that takes or
    /// checks leases, writes versions or queues deletes of their objects begins with it: what one
    /// of them found out stays true until it commits.
    ///
    /// Locks are taken in one order, so that no two transactions wait for each other: publications,
    /// models, devices by id, dumps, queued deletes.
    pub(crate) async fn lock_publications(&mut self) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::lock_publications(c).await).await.map(drop)
    }

    /// Keeps a model from being deleted until the transaction ends, if it is there.
    pub(crate) async fn keep_model(&mut self, id: i64) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::keep_model(c, id).await).await.map(drop)
    }

    /// Keeps a model from getting further devices until the transaction ends.
    pub(crate) async fn lock_model(&mut self, id: i64) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::lock_model(c, id).await).await.map(drop)
    }

    /// Lets one transaction at a time past here that inserts or prunes dumps of a device.
    pub(crate) async fn lock_device(&mut self, id: i64) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::lock_device(c, id).await).await.map(drop)
    }

    /// The same for several devices.
    pub(crate) async fn lock_devices(&mut self, ids: &[i64]) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::lock_devices(c, ids).await).await.map(drop)
    }

    /// Waits for whoever changes a dump.
    pub(crate) async fn lock_dump(&mut self, id: i64) -> Result<(), Failure> {
        self.on_postgres(async |c| postgres::lock_dump(c, id).await).await.map(drop)
    }

    /// Runs what only `PostgreSQL` needs or has, as locks: `SQLite` has one writer anyway. In a
    /// transaction it changes nothing.
    pub(crate) async fn on_postgres<T>(
        &mut self,
        statement: impl AsyncFnOnce(&AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<Option<T>, Failure> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(lent) => Ok(Some(lent.run(statement).await?)),
        }
    }

    async fn commit(&mut self) -> QueryResult<()> {
        match self {
            Self::Sqlite(lent) => sqlite::commit(lent.get()).await,
            Self::Postgres(lent) => lent.end("COMMIT").await,
        }
    }

    async fn roll_back(&mut self) -> QueryResult<()> {
        match self {
            Self::Sqlite(lent) => sqlite::roll_back(lent.get()).await,
            Self::Postgres(lent) => lent.end("ROLLBACK").await,
        }
    }

    fn is_given_up(&self) -> bool {
        matches!(self, Self::Postgres(lent) if lent.given_up)
    }

    /// Whether statements occupy a thread while they run.
    pub(crate) fn blocks(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(_) => false,
        }
    }

    /// The title of the signature in the report of a row of `coredumps`.
    pub(crate) fn title_of_report(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite::TITLE_OF_REPORT,
            Self::Postgres(_) => postgres::TITLE_OF_REPORT,
        }
    }

    /// A `FROM` item whose column `value` runs over the elements of the JSON array in the second
    /// bind.
    pub(crate) fn elements_of_second_bind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite::ELEMENTS_OF_SECOND_BIND,
            Self::Postgres(_) => postgres::ELEMENTS_OF_SECOND_BIND,
        }
    }
}
