//! What is particular to `PostgreSQL`: its connections, advisory locks, JSON functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::QueryResult;
use diesel::connection::InstrumentationEvent;
use diesel::sql_types::{BigInt, Text};
use diesel_async::pooled_connection::deadpool::{BuildError, Pool};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, TransactionManager,
};

use crate::PostgresOptions;

/// What makes connections.
pub(crate) type PostgresManager = AsyncDieselConnectionManager<AsyncPgConnection>;

pub(crate) const ELEMENTS_OF_SECOND_BIND: &str = "json_array_elements($2::json)";

/// A pool that opens its connections when they are needed.
pub(crate) fn pool(
    url: &str,
    options: PostgresOptions,
    statements: Arc<AtomicU64>,
) -> Result<Pool<AsyncPgConnection>, BuildError> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url: &str| {
        let (url, statements) = (url.to_owned(), statements.clone());
        Box::pin(async move {
            let mut connection = AsyncPgConnection::establish(&url).await?;
            connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::StartQuery { .. } = event {
                    statements.fetch_add(1, Ordering::Relaxed);
                }
            });
            Ok(connection)
        })
    });
    Pool::builder(AsyncDieselConnectionManager::new_with_config(url, config))
        .max_size(options.connections.max(1))
        .wait_timeout(Some(options.wait))
        .create_timeout(Some(options.wait))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
}

/// Begins a transaction.
pub(crate) async fn begin(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    AnsiTransactionManager::begin_transaction(connection).await
}

/// Waits for the advisory lock of this name; the end of the transaction gives it back.
pub(crate) async fn lock(connection: &mut AsyncPgConnection, name: &str) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind::<Text, _>(name)
        .execute(connection)
        .await
        .map(drop)
}

/// Waits for the row of a device; the end of the transaction gives it back.
pub(crate) async fn lock_device(connection: &mut AsyncPgConnection, id: i64) -> QueryResult<()> {
    diesel::sql_query("SELECT id FROM devices WHERE id = $1 FOR UPDATE")
        .bind::<BigInt, _>(id)
        .execute(connection)
        .await
        .map(drop)
}
