//! The error of all repositories.

use std::sync::Arc;

/// Why a repository could not carry out an operation.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A unique value is taken; the doc line of the method says which value that can be.
    #[error("expected a new unique value, found a row which has it")]
    Conflict,
    /// A stored value is one which this version does not write.
    #[error("column {column} of table {table} holds an impossible value")]
    Corrupt { table: &'static str, column: &'static str },
    /// The database is down, too slow, full, or answered with an error. Nothing was changed; but if
    /// the connection broke during the commit, the outcome is unknown.
    #[error("database operation {operation} failed")]
    Unavailable {
        /// `noun.verb`
        operation: &'static str,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl RepositoryError {
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }
}
