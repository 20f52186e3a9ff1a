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
    #[error("it holds tables, but not those of Coredock; name another database")]
    Foreign,
    /// The tables of a legacy deployment, which are adopted only on request.
    #[error("it holds the tables of a legacy deployment, which this version cannot adopt")]
    Legacy,
    /// Something else answers at the address of the server.
    #[error("what answers there is not a PostgreSQL server")]
    NotPostgres,
    /// What `sslrootcert` names cannot be used.
    #[error("the certificates of sslrootcert cannot be used")]
    Certificates {
        /// What is wrong with them.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The server lets this user in, but not change the schema.
    #[error(
        "the user may not create tables in it; grant CREATE on its schema, or name another user"
    )]
    NotPermitted,
    /// Older than the oldest that is supported.
    #[error("the server is PostgreSQL {version}; Coredock needs 13 or newer")]
    TooOld {
        /// What the server says it is.
        version: String,
    },
    /// The server does not let this user in, has no such database, or cannot be trusted.
    #[error("the server refused the connection")]
    Refused {
        /// What it said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
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

    pub(crate) fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused { source: Arc::from(source.into()) }
    }

    /// Whether waiting may mend it.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The whole chain of causes in one text.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
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
