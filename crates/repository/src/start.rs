//! What can stop a start.

use std::sync::Arc;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is none of `SQLite`'s, or damaged.
    #[error("it is not a SQLite database or is damaged; restore a backup, or name another file")]
    NotADatabase {
        /// The file.
        path: String,
    },
    /// Somebody else's tables.
    #[error("it holds tables, but not those of Coredock; name another file")]
    Foreign {
        /// The file.
        path: String,
    },
    /// A newer Coredock has been here.
    #[error(
        "the database was upgraded by a newer Coredock, this one does not know its migrations {}; \
         start the newer Coredock, or restore a backup made before the upgrade", unknown.join(", ")
    )]
    Newer {
        /// The versions of the migrations that are not known here.
        unknown: Vec<String>,
    },
    /// The database is down, busy, full, read-only, or answered with an error.
    #[error("could not {operation} the database")]
    Unavailable {
        /// `open`, `inspect`, `migrate`.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    pub(crate) fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn no_migrations() -> Self {
        Self::unavailable("migrate", "this build has no migrations for PostgreSQL")
    }
}

/// Where the schema of a database stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaStatus {
    /// Names of the migrations it has, oldest first.
    pub applied: Vec<String>,
    /// Names of the migrations it waits for, oldest first.
    pub pending: Vec<String>,
    /// Versions of the migrations it has and this binary does not know.
    pub unknown: Vec<String>,
}
