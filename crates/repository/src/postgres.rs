//! What is particular to `PostgreSQL`: its connections, locks, JSON functions.

mod connect;
pub(crate) mod migrations;
mod tls;
mod url;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::{ConnectionError, QueryResult};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use self::connect::Connector;
pub use self::url::PostgresUrl;
use crate::failure::Failure;
use crate::schema::{coredumps, device_models, devices};
use crate::start::StartError;
use crate::values::{Column, StoredTime, UtcTimestamp};

/// What makes connections.
pub(crate) type PostgresManager = AsyncDieselConnectionManager<AsyncPgConnection>;

pub(crate) const ELEMENTS_OF_SECOND_BIND: &str = "json_array_elements($2::json)";
pub(crate) const TITLE_OF_REPORT: &str = "coredumps.report::json -> 'signature' ->> 'title'";

/// How a `PostgreSQL` server is used.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The server and the database in it.
    pub url: PostgresUrl,
    /// Connections that stay open (`DB_POOL_SIZE`).
    pub kept: usize,
    /// Further ones that are closed when nobody waits for one (`DB_POOL_MAX_OVERFLOW`).
    pub overflow: usize,
    /// Longest wait for a connection, and for the answer to a statement (`DB_POOL_TIMEOUT`).
    pub wait: Duration,
}

/// The connections to a database.
#[derive(Clone)]
pub(crate) struct Postgres {
    pub(crate) pool: Pool<AsyncPgConnection>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) kept: usize,
    /// Longest wait for the answer to a statement. Longer than the server is told, so that as a rule
    /// it is the server that gives up, and the connection stays usable.
    pub(crate) patience: Duration,
}

impl Postgres {
    /// A pool that opens its connections when they are needed.
    pub(crate) fn new(
        options: PostgresOptions,
        statements: Arc<AtomicU64>,
    ) -> Result<Self, StartError> {
        let PostgresOptions { url, kept, overflow, wait } = options;
        let connector = Arc::new(Connector::new(url, wait, statements)?);
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        let makes = Arc::clone(&connector);
        config.custom_setup = Box::new(move |_| {
            let connector = Arc::clone(&makes);
            Box::pin(async move {
                let connected = connector.connect().await;
                connected.map_err(|error| ConnectionError::BadConnection(error.chain()))
            })
        });
        let pool = Pool::builder(AsyncDieselConnectionManager::new_with_config("", config))
            .max_size(kept.saturating_add(overflow).max(1))
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| StartError::unavailable("open", error))?;
        let patience = wait + Duration::from_secs(1);
        Ok(Self { pool, connector, kept: kept.max(1), patience })
    }

    pub(crate) fn url(&self) -> &PostgresUrl {
        self.connector.url()
    }

    /// Whether a connection that comes back is one too many.
    pub(crate) fn is_surplus(&self) -> bool {
        let status = self.pool.status();
        status.size > self.kept && status.waiting == 0
    }
}

/// Begins a transaction. That cannot fail on a connection that is of use afterwards.
pub(crate) async fn begin(mut connection: &AsyncPgConnection) -> QueryResult<()> {
    connection.batch_execute("BEGIN").await
}

diesel::define_sql_function! {
    /// Waits for the advisory lock of this number; the end of the transaction gives it back.
    #[sql_name = "pg_advisory_xact_lock"]
    fn advisory_lock(number: BigInt) -> diesel::sql_types::Text;
}

/// One publication at a time. The number is arbitrary and ours.
pub(crate) async fn lock_publications(connection: &AsyncPgConnection) -> QueryResult<()> {
    const PUBLICATIONS: i64 = 0x7075_626c_6973_6821;
    diesel::select(advisory_lock(PUBLICATIONS)).execute(&mut &*connection).await.map(drop)
}

/// Keeps a model from being deleted, if it is there.
pub(crate) async fn keep_model(connection: &AsyncPgConnection, id: i64) -> QueryResult<()> {
    let model = device_models::table.find(id).select(device_models::id).for_key_share();
    model.load::<i64>(&mut &*connection).await.map(drop)
}

/// Waits for the row of a model.
pub(crate) async fn lock_model(connection: &AsyncPgConnection, id: i64) -> QueryResult<()> {
    let model = device_models::table.find(id).select(device_models::id).for_update();
    model.load::<i64>(&mut &*connection).await.map(drop)
}

/// Waits for the row of a device.
pub(crate) async fn lock_device(connection: &AsyncPgConnection, id: i64) -> QueryResult<()> {
    let device = devices::table.find(id).select(devices::id).for_update();
    device.load::<i64>(&mut &*connection).await.map(drop)
}

/// Waits for the row of a dump.
pub(crate) async fn lock_dump(connection: &AsyncPgConnection, id: i64) -> QueryResult<()> {
    let dump = coredumps::table.find(id).select(coredumps::id).for_update();
    dump.load::<i64>(&mut &*connection).await.map(drop)
}

/// Waits for the rows of devices, in the order of their ids.
pub(crate) async fn lock_devices(connection: &AsyncPgConnection, ids: &[i64]) -> QueryResult<()> {
    let of_ids = devices::table.filter(devices::id.eq_any(ids)).order(devices::id);
    of_ids.select(devices::id).for_update().load::<i64>(&mut &*connection).await.map(drop)
}

#[derive(QueryableByName)]
struct NowRow {
    #[diesel(sql_type = UtcTimestamp)]
    now: StoredTime,
}

/// The time of the server.
pub(crate) async fn now(
    mut connection: &AsyncPgConnection,
) -> QueryResult<Result<Timestamp, Failure>> {
    let row =
        diesel::sql_query("SELECT clock_timestamp() AS now").get_result::<NowRow>(&mut connection);
    Ok(row.await?.now.read(Column("pg_catalog", "clock_timestamp")))
}
