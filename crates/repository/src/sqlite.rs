//! The `SQLite` backend: its connections, of which only one writes.

mod lent;
pub(crate) mod migrations;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{BuildError, Manager, Metrics, Pool, RecycleError, RecycleResult};
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::{Connection as _, ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use self::lent::Threads;
pub(crate) use self::lent::{LentSqlite, SqliteConn, SqliteDialect};
use crate::database::SqliteOptions;

/// Set first, because the switch to WAL already waits for a lock of the file.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000;";
/// The log is moved into the file after 4096 pages (16 MiB) instead of the default of 1000: a page
/// that changes with every dump is written into the file less often.
const SETUP: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4096;";

/// The two pools of a database file.
pub(crate) struct Sqlite {
    pub(crate) path: String,
    pub(crate) writer: Pool<SqliteManager>,
    pub(crate) readers: Pool<SqliteManager>,
    pub(crate) writes: Arc<WriteEpoch>,
    /// Longest wait for a connection.
    pub(crate) wait: Duration,
}

/// Counts the statements that ended on the writing connection, `COMMIT` among them: while the count
/// stays the same, nothing was committed.
#[derive(Debug, Default)]
pub(crate) struct WriteEpoch(AtomicU64);

impl WriteEpoch {
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Sqlite {
    /// Pools that open their connections when they are needed; one connection writes.
    pub(crate) fn new(
        path: &str,
        options: SqliteOptions,
        statements: &Arc<AtomicU64>,
    ) -> Result<Self, BuildError> {
        let writes = Arc::new(WriteEpoch::default());
        let pool = |writes: Option<Arc<WriteEpoch>>, size| {
            let manager =
                SqliteManager { path: path.to_owned(), writes, statements: statements.clone() };
            Pool::builder(manager)
                .max_size(size)
                .wait_timeout(Some(options.wait))
                .runtime(Runtime::Tokio1)
                .build()
        };
        Ok(Self {
            path: path.to_owned(),
            writer: pool(Some(writes.clone()), 1)?,
            readers: pool(None, options.readers.max(1))?,
            writes,
            wait: options.wait,
        })
    }
}

/// Opens connections to a file.
pub(crate) struct SqliteManager {
    path: String,
    /// `None` for connections that only read.
    writes: Option<Arc<WriteEpoch>>,
    statements: Arc<AtomicU64>,
}

/// A pooled connection.
pub(crate) struct SqliteLink {
    connection: SqliteConn,
    /// Shared with the [`Threads`] of the connection.
    on_caller_thread: Arc<AtomicBool>,
}

impl Manager for SqliteManager {
    type Type = SqliteLink;
    type Error = ConnectionError;

    async fn create(&self) -> ConnectionResult<SqliteLink> {
        let (path, writes, statements) =
            (self.path.clone(), self.writes.clone(), self.statements.clone());
        let opening = tokio::task::spawn_blocking(move || establish(&path, writes, statements));
        let connection =
            opening.await.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
        let on_caller_thread = Arc::new(AtomicBool::new(false));
        let threads = Threads::new(on_caller_thread.clone());
        Ok(SqliteLink {
            connection: SyncConnectionWrapper::with_runtime(connection, threads),
            on_caller_thread,
        })
    }

    async fn recycle(&self, link: &mut SqliteLink, _: &Metrics) -> RecycleResult<ConnectionError> {
        if std::thread::panicking() || link.connection.is_broken() {
            return Err(RecycleError::message("the connection is in an unknown state"));
        }
        Ok(())
    }
}

fn establish(
    path: &str,
    writes: Option<Arc<WriteEpoch>>,
    statements: Arc<AtomicU64>,
) -> ConnectionResult<SqliteConnection> {
    let mut connection = open(path)?;
    set_up(&mut connection)?;
    if writes.is_none() {
        connection
            .batch_execute("PRAGMA query_only = ON;")
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    connection.set_instrumentation(move |event: InstrumentationEvent<'_>| match event {
        InstrumentationEvent::StartQuery { .. } => {
            statements.fetch_add(1, Ordering::Relaxed);
        }
        InstrumentationEvent::FinishQuery { .. } => {
            if let Some(writes) = &writes {
                writes.advance();
            }
        }
        _ => {}
    });
    Ok(connection)
}

/// Opens the file, creating it if it does not exist; writes nothing into it.
pub(crate) fn open(path: &str) -> ConnectionResult<SqliteConnection> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute(BUSY_TIMEOUT).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Makes commits durable and enforces foreign keys.
pub(crate) fn set_up(connection: &mut SqliteConnection) -> ConnectionResult<()> {
    connection.batch_execute(SETUP).map_err(ConnectionError::CouldntSetupConfiguration)
}
