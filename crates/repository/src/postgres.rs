//! The `PostgreSQL` backend: connections, URLs and TLS.

mod connect;
mod lent;
pub(crate) mod migrations;
mod tls;
mod url;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};

use self::connect::Connector;
pub(crate) use self::lent::{LentPostgres, PostgresDialect};
pub use self::url::PostgresUrl;
use crate::start_error::StartError;

pub(crate) type PostgresManager = AsyncDieselConnectionManager<AsyncPgConnection>;

/// How a `PostgreSQL` server is used.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub url: PostgresUrl,
    /// Connections that stay open (`DB_POOL_SIZE`).
    pub pool_size: usize,
    /// Further connections, closed when no task waits for one (`DB_POOL_MAX_OVERFLOW`).
    pub overflow: usize,
    /// Longest wait for a connection, and for the answer to a statement (`DB_POOL_TIMEOUT`).
    pub wait: Duration,
}

/// The connections to a database.
#[derive(Clone)]
pub(crate) struct Postgres {
    pub(crate) pool: Pool<AsyncPgConnection>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) pool_size: usize,
    /// Longest wait for the answer to a statement. Longer than `statement_timeout`, so that as a
    /// rule the server ends the statement and the connection stays usable.
    pub(crate) answer_timeout: Duration,
}

impl Postgres {
    /// A pool that opens its connections when they are needed.
    pub(crate) fn new(
        options: PostgresOptions,
        statements: Arc<AtomicU64>,
    ) -> Result<Self, StartError> {
        let PostgresOptions { url, pool_size, overflow, wait } = options;
        let connector = Arc::new(Connector::new(url, wait, statements)?);
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        let shared = Arc::clone(&connector);
        config.custom_setup = Box::new(move |_| {
            let connector = Arc::clone(&shared);
            Box::pin(async move {
                let connected = connector.connect().await;
                connected.map_err(|error| ConnectionError::BadConnection(error.chain()))
            })
        });
        let pool = Pool::builder(AsyncDieselConnectionManager::new_with_config("", config))
            .max_size(pool_size.saturating_add(overflow).max(1))
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| StartError::unavailable("open", error))?;
        let answer_timeout = wait + Duration::from_secs(1);
        Ok(Self { pool, connector, pool_size: pool_size.max(1), answer_timeout })
    }

    pub(crate) fn url(&self) -> &PostgresUrl {
        self.connector.url()
    }

    /// Whether to close a returned connection: no task waits for it, and more than `pool_size` are open.
    pub(crate) fn is_surplus(&self) -> bool {
        let status = self.pool.status();
        status.size > self.pool_size && status.waiting == 0
    }
}
