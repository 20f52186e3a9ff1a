//! The database behind the ports.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coredock_domain::Entropy;
use coredock_domain::clock::random_id;
use coredock_domain::error::RepositoryError;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::connection::{Connection, LentPostgres, on, read, write};
use crate::failure::Failure;
use crate::firmware::offers::Offers;
use crate::intake::CoredumpIds;
use crate::postgres::{self, Postgres, PostgresOptions};
use crate::schema::settings;
use crate::sqlite::{self, Sqlite};
use crate::start::{SchemaStatus, StartError};
use crate::values::{At, Column};

/// The setting that holds the id of the installation.
pub(crate) const INSTALLATION_ID: &str = "installation_id";

/// Rows in a database; implements every repository port. Clones share the connections.
#[derive(Clone)]
pub struct Database {
    db: Db,
    statements: Arc<AtomicU64>,
    failures: Arc<FailureCounts>,
    /// Ids of dumps that are reserved already.
    coredump_ids: Arc<CoredumpIds>,
}

/// Failed calls since the start, by kind.
#[derive(Debug, Default)]
pub struct FailureCounts {
    /// A unique value was taken.
    pub conflict: AtomicU64,
    /// A stored value was impossible.
    pub corrupt: AtomicU64,
    /// The database was down, too slow, full, or answered with an error.
    pub unavailable: AtomicU64,
}

#[derive(Clone)]
enum Db {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// How a `SQLite` file is used.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// Connections that read; one more writes.
    pub readers: usize,
    /// Longest wait for a connection.
    pub wait: Duration,
}

/// The state of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open ones.
    pub open: usize,
    /// Those lent out.
    pub in_use: usize,
}

impl Database {
    /// Opens a `SQLite` file, creating it if it does not exist. Applies no migration.
    pub async fn open_sqlite(path: &Path, options: SqliteOptions) -> Result<Self, StartError> {
        let Some(text) = path.to_str() else {
            return Err(StartError::unavailable("open", "the path is not UTF-8"));
        };
        let path = text.to_owned();
        sqlite::migrations::check(path.clone()).await?;
        let statements = Arc::new(AtomicU64::new(0));
        let pools = Sqlite::new(&path, options, &statements)
            .map_err(|error| StartError::unavailable("open", error))?;
        Ok(Self::over(Db::Sqlite(pools), statements))
    }

    /// Prepares connections to a `PostgreSQL` server; none is made yet. Connections live on the
    /// runtime this is called in.
    pub fn open_postgres(options: PostgresOptions) -> Result<Self, StartError> {
        let statements = Arc::new(AtomicU64::new(0));
        let postgres = Postgres::new(options, statements.clone())?;
        Ok(Self::over(Db::Postgres(postgres), statements))
    }

    fn over(db: Db, statements: Arc<AtomicU64>) -> Self {
        Self { db, statements, failures: Arc::default(), coredump_ids: Arc::default() }
    }

    /// Which migrations the database has and which it waits for. Changes nothing.
    pub async fn schema_status(&self) -> Result<SchemaStatus, StartError> {
        match &self.db {
            Db::Sqlite(sqlite) => sqlite::migrations::status(sqlite.path.clone()).await,
            Db::Postgres(postgres) => postgres::migrations::status(postgres).await,
        }
    }

    /// How many migrations wait; an error when the database is newer than this binary.
    pub async fn pending_migrations(&self) -> Result<usize, StartError> {
        let status = self.schema_status().await?;
        if status.unknown.is_empty() {
            Ok(status.pending.len())
        } else {
            Err(StartError::Newer { unknown: status.unknown })
        }
    }

    /// Applies the migrations that wait, each in one transaction, and returns their names.
    pub async fn migrate(&self) -> Result<Vec<String>, StartError> {
        match &self.db {
            Db::Sqlite(sqlite) => sqlite::migrations::apply(sqlite.path.clone()).await,
            Db::Postgres(postgres) => postgres::migrations::apply(postgres).await,
        }
    }

    /// The id of this installation, made now if there is none.
    pub async fn ensure_installation(
        &self,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<String, RepositoryError> {
        let fresh = random_id(entropy);
        write!(self, "installation.ensure", |conn| {
            let row = (
                settings::key.eq(INSTALLATION_ID),
                settings::value.eq(&fresh),
                settings::updated_at.eq(At(now)),
            );
            on!(&mut *conn, |c| diesel::insert_into(settings::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(c))?;
            let held = setting(conn, INSTALLATION_ID).await?;
            Column("settings", "value").holds(held)
        })
    }

    /// Whether the database answers from its tables.
    pub async fn ping(&self) -> Result<(), RepositoryError> {
        read!(self, "database.ping", |conn| { setting(conn, INSTALLATION_ID).await.map(drop) })
    }

    /// Moves what the write-ahead log of a `SQLite` file holds into the file, so that the file
    /// alone is complete; elsewhere without effect.
    pub async fn checkpoint(&self) -> Result<(), RepositoryError> {
        let checkpointing = async {
            let mut connection = self.writer().await?;
            let result = match &mut connection {
                Connection::Sqlite(lent) => {
                    lent.get().batch_execute("PRAGMA wal_checkpoint(TRUNCATE);").await
                }
                Connection::Postgres(_) => Ok(()),
            };
            connection.give_back();
            result.map_err(Failure::from)
        };
        checkpointing.await.map_err(|failure: Failure| failure.during("database.checkpoint"))
    }

    /// Closes the connections: those in use when they are given back, the others at once. `SQLite`
    /// empties and removes its write-ahead log with the last one.
    pub fn close(&self) {
        match &self.db {
            Db::Sqlite(sqlite) => {
                sqlite.readers.close();
                sqlite.writer.close();
            }
            Db::Postgres(postgres) => postgres.pool.close(),
        }
    }

    /// How many connections are open, and how many of them are in use.
    pub fn connections(&self) -> ConnectionCounts {
        match &self.db {
            Db::Sqlite(sqlite) => {
                let (readers, writer) = (sqlite.readers.status(), sqlite.writer.status());
                let open = readers.size + writer.size;
                let idle = readers.available + writer.available;
                ConnectionCounts { open, in_use: open.saturating_sub(idle) }
            }
            Db::Postgres(postgres) => {
                let status = postgres.pool.status();
                let in_use = status.size.saturating_sub(status.available);
                ConnectionCounts { open: status.size, in_use }
            }
        }
    }

    /// Failed calls so far.
    pub fn failures(&self) -> &FailureCounts {
        &self.failures
    }

    /// Counts a failed call and passes it on.
    pub(crate) fn count(&self, error: RepositoryError) -> RepositoryError {
        let counter = match &error {
            RepositoryError::Conflict => &self.failures.conflict,
            RepositoryError::Corrupt { .. } => &self.failures.corrupt,
            RepositoryError::Unavailable { .. } => &self.failures.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// The time all processes on this database share: that of the `PostgreSQL` server; `None` where
    /// there is one process and its own clock will do.
    pub async fn shared_time(&self) -> Result<Option<Timestamp>, RepositoryError> {
        if self.sqlite().is_some() {
            return Ok(None);
        }
        read!(self, "database.time", |conn| {
            conn.on_postgres(async |c| postgres::now(c).await).await?.transpose()
        })
    }

    /// Where rows lie, without a password.
    pub fn shown(&self) -> String {
        match &self.db {
            Db::Sqlite(sqlite) => format!("sqlite://{}", sqlite.path),
            Db::Postgres(postgres) => postgres.url().to_string(),
        }
    }

    /// Where what devices are offered is remembered, if this process is the only writer.
    pub(crate) fn offers(&self) -> Option<&Offers> {
        self.sqlite().map(|sqlite| &*sqlite.offers)
    }

    /// Ids of dumps that are reserved already, and the longest wait for further ones.
    pub(crate) fn coredump_ids(&self) -> (&CoredumpIds, Duration) {
        let wait = match &self.db {
            Db::Sqlite(sqlite) => sqlite.wait,
            Db::Postgres(postgres) => postgres.patience,
        };
        (&self.coredump_ids, wait)
    }

    /// What is particular to `SQLite`, if that is where rows lie.
    pub(crate) fn sqlite(&self) -> Option<&Sqlite> {
        match &self.db {
            Db::Sqlite(sqlite) => Some(sqlite),
            Db::Postgres(_) => None,
        }
    }

    /// Statements run so far, those that begin and end transactions included.
    pub fn statement_count(&self) -> u64 {
        AtomicU64::load(&self.statements, Ordering::Relaxed)
    }

    /// A connection to read with.
    pub(crate) async fn reader(&self) -> Result<Connection, Failure> {
        match &self.db {
            Db::Sqlite(sqlite) => lend_sqlite(&sqlite.readers).await,
            Db::Postgres(postgres) => lend_postgres(postgres).await,
        }
    }

    /// A connection to write with.
    pub(crate) async fn writer(&self) -> Result<Connection, Failure> {
        match &self.db {
            Db::Sqlite(sqlite) => lend_sqlite(&sqlite.writer).await,
            Db::Postgres(postgres) => lend_postgres(postgres).await,
        }
    }
}

async fn lend_sqlite(
    pool: &diesel_async::pooled_connection::deadpool::Pool<sqlite::SqliteConn>,
) -> Result<Connection, Failure> {
    let object = pool.get().await.map_err(Failure::pool)?;
    Ok(Connection::Sqlite(object.into()))
}
async fn lend_postgres(postgres: &Postgres) -> Result<Connection, Failure> {
    let object = postgres.pool.get().await.map_err(Failure::pool)?;
    let lent = LentPostgres::new(object.into(), postgres.clone());
    Ok(Connection::Postgres(Box::new(lent)))
}

/// The value of a setting.
pub(crate) async fn setting(conn: &mut Connection, key: &str) -> Result<Option<String>, Failure> {
    let value = on!(conn, |c| settings::table.find(key).select(settings::value).first::<String>(c))
        .optional()?;
    Ok(value)
}
