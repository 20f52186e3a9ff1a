//! The reasons for which a database cannot be used at the start.

use std::sync::Arc;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is not a `SQLite` database, or is damaged.
    #[error(
        "the file is not a SQLite database or is damaged; restore a backup, or name another file"
    )]
    NotADatabase { path: String },
    /// The database has tables of another program.
    #[error("expected no tables or those of Coredock, found others; name another database")]
    Foreign,
    /// The database has the tables of a legacy deployment.
    #[error(
        "expected no tables or those of Coredock, found those of a legacy deployment, which this \
         version cannot adopt"
    )]
    Legacy,
    /// Another program answers at the address of the server.
    #[error("the program at this address is not a PostgreSQL server")]
    NotPostgres,
    /// The certificates which `sslrootcert` selects cannot be used.
    #[error("the certificates of sslrootcert cannot be used")]
    Certificates {
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The server accepts this user, but does not let it change the schema.
    #[error("the user may not create tables; grant CREATE on the schema, or name another user")]
    NotPermitted,
    /// The server is older than the oldest supported version.
    #[error("expected PostgreSQL 13 or newer, found PostgreSQL {version}")]
    TooOld {
        /// As the server reports it.
        version: String,
    },
    /// The server rejects this user, does not have this database, or its certificate is not
    /// trusted.
    #[error("the login, the database name or the TLS connection was rejected")]
    Refused {
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A newer Coredock has upgraded the database.
    #[error(
        "upgraded by a newer Coredock: this version does not know the migrations {}; start the \
         newer Coredock, or restore a backup made before the upgrade",
        unknown.join(", ")
    )]
    Newer {
        /// The versions of the migrations that this binary does not know.
        unknown: Vec<String>,
    },
    /// The database is down, busy, full, read-only, or answered with an error.
    #[error("{operation} failed")]
    Unavailable {
        /// `open`, `inspect`, `migrate`.
        operation: &'static str,
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

    /// Whether the failure may pass without a change of the settings or the database.
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
