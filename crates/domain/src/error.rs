//! What a repository could not do, for every feature.

use std::sync::Arc;

/// What a repository could not do.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A unique value is taken; the doc line of the method says which can be.
    #[error("unique value is taken")]
    Conflict,
    /// A stored value is none this version could have written.
    #[error("column {column} of table {table} holds an impossible value")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The database is down, too slow, full, or answered with an error. Nothing was changed, or,
    /// if the connection broke during the commit, the outcome is unknown.
    #[error("database could not {operation}")]
    Unavailable {
        /// What was asked for, `noun.verb`.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl RepositoryError {
    /// An outage met during `operation`.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }
}
