//! A connection to a `SQLite` file, and the threads on which its statements run.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool::managed::Object;
use diesel::connection::AnsiTransactionManager;
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, SqliteConnection};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_async::{
    AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager as _,
};
use futures::TryStreamExt;

use super::SqliteManager;
use crate::connection::Lent;
use crate::statement::{Answer, Batch, Dialect, Locks, Running, SqliteRow, Statement, Work};

/// A connection whose statements block a thread.
pub(crate) type SqliteConn = SyncConnectionWrapper<SqliteConnection, Threads>;

type Manager = <SqliteConn as AsyncConnection>::TransactionManager;

/// The `SQLite` branch of a query.
#[derive(Clone, Copy)]
pub(crate) struct SqliteDialect;

impl Dialect for SqliteDialect {
    type Backend = Sqlite;
    type Row = SqliteRow;

    fn rows(answer: Answer) -> Vec<SqliteRow> {
        if let Answer::Sqlite(rows) = answer { rows } else { Vec::new() }
    }

    fn lock<'q>(_: impl Locks + 'q) -> Statement<'q, Self, ()> {
        Statement::nothing()
    }
}

/// A connection lent for one read or one transaction.
pub(crate) struct LentSqlite {
    lent: Lent<SqliteManager>,
}

impl LentSqlite {
    pub(crate) fn new(object: Object<SqliteManager>, on_caller_thread: bool) -> Self {
        let mut lent = Self { lent: object.into() };
        lent.set_on_caller_thread(on_caller_thread);
        lent
    }

    pub(crate) fn is_on_caller_thread(&mut self) -> bool {
        self.lent.get().on_caller_thread.load(Ordering::Relaxed)
    }

    /// Whether statements run on the thread that polls them, or on tokio's blocking pool.
    pub(crate) fn set_on_caller_thread(&mut self, on_caller_thread: bool) {
        self.lent.get().on_caller_thread.store(on_caller_thread, Ordering::Relaxed);
    }

    pub(crate) fn start<'c, B>(&'c mut self, batch: B) -> Running<'c, B::Reader>
    where
        B: Batch<'c, SqliteDialect>,
    {
        let mut work = Vec::with_capacity(1);
        let reader = batch.split(&mut work);
        Running::new(Box::pin(run(self.connection(), work)), reader)
    }

    /// Begins as a writer, because a transaction that begins with a read may fail to become one.
    pub(crate) async fn begin(&mut self) -> QueryResult<()> {
        self.connection()
            .spawn_blocking(|inner| {
                AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")
            })
            .await
    }

    pub(crate) async fn end(&mut self, commits: bool) -> QueryResult<()> {
        if commits {
            Manager::commit_transaction(self.connection()).await
        } else {
            Manager::rollback_transaction(self.connection()).await
        }
    }

    pub(crate) async fn checkpoint(&mut self) -> QueryResult<()> {
        self.connection().batch_execute("PRAGMA wal_checkpoint(TRUNCATE);").await
    }

    pub(crate) fn give_back(self) {
        self.lent.give_back();
    }

    fn connection(&mut self) -> &mut SqliteConn {
        &mut self.lent.get().connection
    }
}

async fn run(
    connection: &mut SqliteConn,
    batch: Vec<Work<'_, Sqlite>>,
) -> QueryResult<Vec<Answer>> {
    let mut answers = Vec::with_capacity(batch.len());
    for work in batch {
        answers.push(match work {
            Work::Load(query) => Answer::Sqlite(connection.load(query).await?.try_collect().await?),
            Work::Execute(query) => Answer::Count(connection.execute_returning_count(query).await?),
            Work::Lock(_) | Work::Nothing => Answer::Nothing,
        });
    }
    Ok(answers)
}

/// The threads on which statements run. The implementation of diesel-async waits for a running
/// statement when its future is dropped, which panics on the single-threaded runtimes of actix.
/// With this one the statement runs to its end by itself, and its connection is closed afterwards.
pub(crate) struct Threads {
    on_caller_thread: Arc<AtomicBool>,
}

impl Threads {
    pub(super) fn new(on_caller_thread: Arc<AtomicBool>) -> Self {
        Self { on_caller_thread }
    }
}

type Blocked<'a, R> =
    Pin<Box<dyn Future<Output = Result<R, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

impl SpawnBlocking for Threads {
    fn spawn_blocking<'a, R>(&mut self, task: impl FnOnce() -> R + Send + 'static) -> Blocked<'a, R>
    where
        R: Send + 'static,
    {
        if self.on_caller_thread.load(Ordering::Relaxed) {
            let result = task();
            return Box::pin(async { Ok(result) });
        }
        let running = tokio::task::spawn_blocking(task);
        Box::pin(async { running.await.map_err(Into::into) })
    }

    fn get_runtime() -> Self {
        Self::new(Arc::default())
    }
}
