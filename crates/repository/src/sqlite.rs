//! What is particular to `SQLite`: its connections, its one writer, its JSON functions.

pub(crate) mod migrations;

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coredock_domain::blocking;
use deadpool::Runtime;
use diesel::connection::{AnsiTransactionManager, InstrumentationEvent, SimpleConnection};
use diesel::{Connection as _, ConnectionError, ConnectionResult, QueryResult, SqliteConnection};
use diesel_async::pooled_connection::deadpool::{BuildError, Pool};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_async::{AsyncConnection, TransactionManager as _};

use crate::firmware::offers::Offers;
use crate::intake::CoredumpQueue;

/// A connection whose statements run on the blocking pool.
pub(crate) type SqliteConn = SyncConnectionWrapper<SqliteConnection, BlockingPool>;

type Manager = <SqliteConn as AsyncConnection>::TransactionManager;
/// What makes them.
pub(crate) type SqliteManager = AsyncDieselConnectionManager<SqliteConn>;

pub(crate) const ELEMENTS_OF_SECOND_BIND: &str = "json_each($2)";
pub(crate) const TITLE_OF_REPORT: &str = "coredumps.report -> 'signature' ->> 'title'";

/// Comes first: switching to WAL already needs the file.
const PATIENCE: &str = "PRAGMA busy_timeout = 5000;";
/// The log is moved into the file every 16 MiB, not every 4: a page that changes with every dump is
/// written there less often.
const SETUP: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4096;";

/// The two pools of a database file.
#[derive(Clone)]
pub(crate) struct Sqlite {
    pub(crate) path: String,
    pub(crate) writer: Pool<SqliteConn>,
    pub(crate) readers: Pool<SqliteConn>,
    /// Nobody else writes: what devices are offered can be remembered.
    pub(crate) offers: Arc<Offers>,
    /// Dumps that wait to be recorded together.
    pub(crate) coredumps: Arc<CoredumpQueue>,
    /// Longest wait for a connection.
    pub(crate) wait: Duration,
}

/// What a connection is for.
#[derive(Clone)]
enum Access {
    Read,
    /// Each statement that ends may have committed.
    Write(Arc<Offers>),
}

impl Sqlite {
    /// Pools that open their connections when they are needed; one connection writes.
    pub(crate) fn new(
        path: &str,
        options: super::SqliteOptions,
        statements: &Arc<AtomicU64>,
    ) -> Result<Self, BuildError> {
        let offers = Arc::new(Offers::new());
        let pool = |access: Access, size, wait: Duration| {
            let statements = statements.clone();
            let mut config = ManagerConfig::default();
            config.recycling_method = RecyclingMethod::Fast;
            config.custom_setup = Box::new(move |path: &str| {
                Box::pin(establish(path.to_owned(), access.clone(), statements.clone()))
            });
            Pool::builder(AsyncDieselConnectionManager::new_with_config(path, config))
                .max_size(size)
                .wait_timeout(Some(wait))
                .runtime(Runtime::Tokio1)
                .build()
        };
        Ok(Self {
            path: path.to_owned(),
            writer: pool(Access::Write(offers.clone()), 1, options.wait)?,
            readers: pool(Access::Read, options.readers.max(1), options.wait)?,
            offers,
            coredumps: Arc::default(),
            wait: options.wait,
        })
    }
}

async fn establish(
    path: String,
    access: Access,
    statements: Arc<AtomicU64>,
) -> ConnectionResult<SqliteConn> {
    let opening = tokio::task::spawn_blocking(move || {
        let mut connection = open(&path)?;
        set_up(&mut connection)?;
        if matches!(access, Access::Read) {
            connection
                .batch_execute("PRAGMA query_only = ON;")
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::StartQuery { .. } => {
                statements.fetch_add(1, Ordering::Relaxed);
            }
            InstrumentationEvent::FinishQuery { .. } => {
                if let Access::Write(offers) = &access {
                    offers.begin_epoch();
                }
            }
            _ => {}
        });
        ConnectionResult::Ok(connection)
    });
    let connection =
        opening.await.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
    Ok(SyncConnectionWrapper::with_runtime(connection, BlockingPool))
}

/// Opens the file, creating it if need be; writes nothing into it.
pub(crate) fn open(path: &str) -> ConnectionResult<SqliteConnection> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute(PATIENCE).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Makes commits durable and references binding.
pub(crate) fn set_up(connection: &mut SqliteConnection) -> ConnectionResult<()> {
    connection.batch_execute(SETUP).map_err(ConnectionError::CouldntSetupConfiguration)
}

/// Begins as a writer: a transaction that read first could not become one later.
pub(crate) async fn begin(connection: &mut SqliteConn) -> QueryResult<()> {
    connection
        .spawn_blocking(|inner| {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")
        })
        .await
}

/// Ends a transaction, keeping what it wrote.
pub(crate) async fn commit(connection: &mut SqliteConn) -> QueryResult<()> {
    Manager::commit_transaction(connection).await
}

/// Ends a transaction, undoing what it wrote.
pub(crate) async fn roll_back(connection: &mut SqliteConn) -> QueryResult<()> {
    Manager::rollback_transaction(connection).await
}

/// Runs a future to its end on this thread, one of the blocking pool: the statements of `SQLite` in
/// it run right here. A visit to the blocking pool costs more than most statements, so a
/// transaction that owns all it needs makes one visit instead of one per statement.
pub(crate) fn run_here<F: Future>(future: F) -> F::Output {
    blocking::allow(|| tokio::runtime::Handle::current().block_on(future))
}

/// Runs statements on tokio's blocking pool, or on this thread if it exists to wait. The
/// implementation that comes with diesel-async waits for a running statement when its future is
/// dropped, which panics on the single-threaded runtimes of actix; here the statement runs to its
/// end alone, and the connection closes after it.
pub(crate) struct BlockingPool;

type Blocked<'a, R> =
    Pin<Box<dyn Future<Output = Result<R, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

impl SpawnBlocking for BlockingPool {
    fn spawn_blocking<'a, R>(&mut self, task: impl FnOnce() -> R + Send + 'static) -> Blocked<'a, R>
    where
        R: Send + 'static,
    {
        if blocking::is_allowed() {
            let result = task();
            return Box::pin(async { Ok(result) });
        }
        let running = tokio::task::spawn_blocking(task);
        Box::pin(async { running.await.map_err(Into::into) })
    }

    fn get_runtime() -> Self {
        Self
    }
}
