//! Operations of the database: reads, and writes that are one transaction each.

use coredock_domain::error::RepositoryError;
use tracing::Instrument;

use crate::Database;
use crate::connection::Connection;
use crate::failure::Failure;

impl Database {
    /// Lends a connection to work that only reads.
    pub(crate) async fn read<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, RepositoryError> {
        self.observe(operation, async { lend(self.reader().await?, work).await }).await
    }

    /// Lends a connection to work that is one statement, and so a transaction by itself.
    pub(crate) async fn write_statement<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, RepositoryError> {
        self.observe(operation, async { lend(self.writer().await?, work).await }).await
    }

    /// Runs work as one transaction: its `Ok` is committed, its `Err` rolled back.
    pub(crate) async fn write<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, RepositoryError> {
        self.observe(operation, async { transact(self.writer().await?, work).await }).await
    }

    /// Like [`Database::write`], for work that owns its data: on `SQLite` the blocking pool gets
    /// the whole transaction instead of each statement, because the hand-over takes longer than
    /// most statements. The transaction runs to its end even if the future of its caller is
    /// dropped.
    pub(crate) async fn write_at_once<T, F>(
        &self,
        operation: &'static str,
        work: F,
    ) -> Result<T, RepositoryError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let writing = async {
            let mut connection = self.writer().await?;
            if !connection.uses_blocking_pool() {
                return transact(connection, work).await;
            }
            connection.run_on_caller_thread();
            let transaction =
                move || tokio::runtime::Handle::current().block_on(transact(connection, work));
            tokio::task::spawn_blocking(transaction).await.map_err(Failure::pool)?
        };
        self.observe(operation, writing).await
    }

    /// Runs work in a span, and counts its failure.
    pub(crate) async fn observe<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, RepositoryError> {
        let observed = work.instrument(tracing::debug_span!("db", operation)).await;
        observed.map_err(|failure| self.count(failure.during(operation)))
    }
}

async fn lend<T>(
    mut connection: Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let result = work(&mut connection).await;
    connection.give_back();
    result
}

/// Runs work as one transaction on this connection.
pub(crate) async fn transact<T>(
    mut connection: Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.begin().await?;
    let result = work(&mut connection).await;
    connection.finish(result).await
}
