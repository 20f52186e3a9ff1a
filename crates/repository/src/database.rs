//! The database behind the ports.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coredock_domain::clock::{Entropy, random_id};
use coredock_domain::error::RepositoryError;
use coredock_domain::timestamp::Timestamp;
use deadpool::managed::Pool;
use diesel::prelude::*;

use crate::columns::Column;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::offer_cache::OfferCache;
use crate::intake::{CoredumpIds, CoredumpQueue};
use crate::migrations::SchemaStatus;
use crate::postgres::{self, LentPostgres, Postgres, PostgresDialect, PostgresOptions};
use crate::schema::settings;
use crate::sqlite::{self, LentSqlite, Sqlite, SqliteManager};
use crate::start_error::StartError;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime, UtcTimestamp};

/// The setting with the id of the installation.
pub(crate) const INSTALLATION_ID: &str = "installation_id";

/// Rows in a database; implements every repository port. Clones share the connections.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    /// Whether statements that block run on the thread that polls them.
    on_caller_thread: bool,
}

struct Shared {
    pools: Pools,
    statements: Arc<AtomicU64>,
    failures: FailureCounts,
    /// `None` where other processes may write as well.
    offer_cache: Option<OfferCache>,
    coredump_ids: CoredumpIds,
    coredump_queue: CoredumpQueue,
}

/// Failed calls since the start, by kind.
#[derive(Debug, Default)]
pub struct FailureCounts {
    /// A row with the same unique value existed already.
    pub conflict: AtomicU64,
    /// A stored value was not possible for its column.
    pub corrupt: AtomicU64,
    /// The database was down, too slow, full, or answered with an error.
    pub unavailable: AtomicU64,
}

enum Pools {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// How a `SQLite` file is used.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// Connections that read; there is one more, which writes.
    pub readers: usize,
    /// Longest wait for a connection.
    pub wait: Duration,
}

/// How many connections there are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    pub open: usize,
    /// Of the open connections, those which an operation uses.
    pub in_use: usize,
}

impl Database {
    /// Opens a `SQLite` file, creating it if it does not exist. Applies no migration.
    pub async fn open_sqlite(path: &Path, options: SqliteOptions) -> Result<Self, StartError> {
        let Some(text) = path.to_str() else {
            return Err(StartError::unavailable("open", "expected a path in UTF-8"));
        };
        let path = text.to_owned();
        sqlite::migrations::check(path.clone()).await?;
        let statements = Arc::new(AtomicU64::new(0));
        let sqlite = Sqlite::new(&path, options, &statements)
            .map_err(|error| StartError::unavailable("open", error))?;
        let offer_cache = OfferCache::new(sqlite.writes.clone());
        Ok(Self::with_pools(Pools::Sqlite(sqlite), Some(offer_cache), statements))
    }

    /// Prepares connections to a `PostgreSQL` server without connecting. The connections run on the
    /// runtime in which this is called.
    pub fn open_postgres(options: PostgresOptions) -> Result<Self, StartError> {
        let statements = Arc::new(AtomicU64::new(0));
        let postgres = Postgres::new(options, statements.clone())?;
        Ok(Self::with_pools(Pools::Postgres(postgres), None, statements))
    }

    fn with_pools(
        pools: Pools,
        offer_cache: Option<OfferCache>,
        statements: Arc<AtomicU64>,
    ) -> Self {
        let shared = Shared {
            pools,
            statements,
            failures: FailureCounts::default(),
            offer_cache,
            coredump_ids: CoredumpIds::default(),
            coredump_queue: CoredumpQueue::default(),
        };
        Self { shared: Arc::new(shared), on_caller_thread: false }
    }

    /// The same database for caller threads: statements of `SQLite` run on the thread that polls
    /// them instead of on tokio's blocking pool, because the hand-over takes longer than most
    /// statements. On a thread which serves several tasks, the other tasks would wait meanwhile.
    #[must_use]
    pub fn on_caller_thread(&self) -> Self {
        Self { shared: self.shared.clone(), on_caller_thread: true }
    }

    pub(crate) fn is_on_caller_thread(&self) -> bool {
        self.on_caller_thread
    }

    /// Compares the migrations of the database with those of this binary. Changes nothing.
    pub async fn schema_status(&self) -> Result<SchemaStatus, StartError> {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => sqlite::migrations::status(sqlite.path.clone()).await,
            Pools::Postgres(postgres) => postgres::migrations::status(postgres).await,
        }
    }

    /// How many migrations are pending; an error if the database is newer than this binary.
    pub async fn pending_migrations(&self) -> Result<usize, StartError> {
        let status = self.schema_status().await?;
        if status.unknown.is_empty() {
            Ok(status.pending.len())
        } else {
            Err(StartError::Newer { unknown: status.unknown })
        }
    }

    /// Applies the pending migrations, each in one transaction, and returns their names.
    pub async fn migrate(&self) -> Result<Vec<String>, StartError> {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => sqlite::migrations::apply(sqlite.path.clone()).await,
            Pools::Postgres(postgres) => postgres::migrations::apply(postgres).await,
        }
    }

    /// The id of this installation, which is created if the database has none.
    pub async fn ensure_installation(
        &self,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<String, RepositoryError> {
        let fresh = random_id(entropy);
        self.write("installation.ensure", async |conn| {
            let row = (
                settings::key.eq(INSTALLATION_ID),
                settings::value.eq(&fresh),
                settings::updated_at.eq(At(now)),
            );
            on!(conn, |c| diesel::insert_into(settings::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(c))?;
            let stored = setting(conn, INSTALLATION_ID).await?;
            Column("settings", "value").require(stored)
        })
        .await
    }

    /// Checks that the database answers from its tables.
    pub async fn ping(&self) -> Result<(), RepositoryError> {
        self.read("database.ping", async |conn| setting(conn, INSTALLATION_ID).await.map(drop))
            .await
    }

    /// Moves the content of the write-ahead log of a `SQLite` file into the file, so that the file
    /// alone is complete. Does nothing on `PostgreSQL`.
    pub async fn checkpoint(&self) -> Result<(), RepositoryError> {
        let checkpointing = async {
            let mut connection = self.writer().await?;
            let result = match &mut connection {
                Connection::Sqlite(lent) => lent.checkpoint().await,
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
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => {
                sqlite.readers.close();
                sqlite.writer.close();
            }
            Pools::Postgres(postgres) => postgres.pool.close(),
        }
    }

    pub fn connections(&self) -> ConnectionCounts {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => {
                let (readers, writer) = (sqlite.readers.status(), sqlite.writer.status());
                let open = readers.size + writer.size;
                let idle = readers.available + writer.available;
                ConnectionCounts { open, in_use: open.saturating_sub(idle) }
            }
            Pools::Postgres(postgres) => {
                let status = postgres.pool.status();
                let in_use = status.size.saturating_sub(status.available);
                ConnectionCounts { open: status.size, in_use }
            }
        }
    }

    pub fn failures(&self) -> &FailureCounts {
        &self.shared.failures
    }

    /// Counts a failed call and passes it on.
    pub(crate) fn count(&self, error: RepositoryError) -> RepositoryError {
        let counter = match &error {
            RepositoryError::Conflict => &self.shared.failures.conflict,
            RepositoryError::Corrupt { .. } => &self.shared.failures.corrupt,
            RepositoryError::Unavailable { .. } => &self.shared.failures.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// The time of the `PostgreSQL` server, which all replicas share; `None` on `SQLite`, where the
    /// clock of the only process is enough.
    pub async fn shared_time(&self) -> Result<Option<Timestamp>, RepositoryError> {
        if self.is_sqlite() {
            return Ok(None);
        }
        self.read("database.time", async |conn| {
            let Connection::Postgres(lent) = conn else { return Ok(None) };
            let query = diesel::sql_query("SELECT clock_timestamp() AS now");
            let row: NowRow = lent.start(query.get_result(PostgresDialect)).await?;
            row.now.read(Column("pg_catalog", "clock_timestamp")).map(Some)
        })
        .await
    }

    /// The URL of the database, without its password.
    pub fn shown(&self) -> String {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => format!("sqlite://{}", sqlite.path),
            Pools::Postgres(postgres) => postgres.url().to_string(),
        }
    }

    /// The cache of offers; `None` where other processes may write as well.
    pub(crate) fn offer_cache(&self) -> Option<&OfferCache> {
        self.shared.offer_cache.as_ref()
    }

    pub(crate) fn coredump_ids(&self) -> &CoredumpIds {
        &self.shared.coredump_ids
    }

    pub(crate) fn coredump_queue(&self) -> &CoredumpQueue {
        &self.shared.coredump_queue
    }

    /// Longest wait for a connection or an answer.
    pub(crate) fn max_wait(&self) -> Duration {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => sqlite.wait,
            Pools::Postgres(postgres) => postgres.answer_timeout,
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.shared.pools, Pools::Sqlite(_))
    }

    /// Statements run so far, those that begin and end transactions included.
    pub fn statement_count(&self) -> u64 {
        AtomicU64::load(&self.shared.statements, Ordering::Relaxed)
    }

    /// A connection for reads.
    pub(crate) async fn reader(&self) -> Result<Connection, Failure> {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => self.lend_sqlite(&sqlite.readers).await,
            Pools::Postgres(postgres) => lend_postgres(postgres).await,
        }
    }

    /// A connection for writes.
    pub(crate) async fn writer(&self) -> Result<Connection, Failure> {
        match &self.shared.pools {
            Pools::Sqlite(sqlite) => self.lend_sqlite(&sqlite.writer).await,
            Pools::Postgres(postgres) => lend_postgres(postgres).await,
        }
    }

    async fn lend_sqlite(&self, pool: &Pool<SqliteManager>) -> Result<Connection, Failure> {
        let object = pool.get().await.map_err(Failure::pool)?;
        Ok(Connection::Sqlite(LentSqlite::new(object, self.is_on_caller_thread())))
    }
}

async fn lend_postgres(postgres: &Postgres) -> Result<Connection, Failure> {
    let object = postgres.pool.get().await.map_err(Failure::pool)?;
    Ok(Connection::Postgres(Box::new(LentPostgres::new(object, postgres.clone()))))
}

pub(crate) async fn setting(conn: &mut Connection, key: &str) -> Result<Option<String>, Failure> {
    let value = on!(conn, |c| settings::table.find(key).select(settings::value).first::<String>(c))
        .optional()?;
    Ok(value)
}

#[derive(QueryableByName)]
struct NowRow {
    #[diesel(sql_type = UtcTimestamp)]
    now: StoredTime,
}
