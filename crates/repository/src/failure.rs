//! Failures inside an operation, before the port names the operation.

use coredock_domain::error::RepositoryError;
use diesel::result::{DatabaseErrorKind, Error};

/// A failure inside a query or transaction; becomes a [`RepositoryError`] at one place.
#[derive(Debug)]
pub(crate) enum Failure {
    Query(Error),
    Pool(Box<dyn std::error::Error + Send + Sync>),
    Corrupt { table: &'static str, column: &'static str },
}

impl Failure {
    /// No connection was available, or the task that used it did not end normally.
    pub(crate) fn pool(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Pool(Box::new(source))
    }

    /// The same failure for another caller that it affects; sources cannot be cloned.
    pub(crate) fn for_another_caller(&self) -> Self {
        match self {
            Self::Query(error) => Self::Pool(error.to_string().into()),
            Self::Pool(error) => Self::Pool(error.to_string().into()),
            Self::Corrupt { table, column } => Self::Corrupt { table, column },
        }
    }

    /// The error of the port.
    pub(crate) fn during(self, operation: &'static str) -> RepositoryError {
        match self {
            Self::Query(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                RepositoryError::Conflict
            }
            Self::Query(source) => RepositoryError::unavailable(operation, source),
            Self::Pool(source) => RepositoryError::unavailable(operation, source),
            Self::Corrupt { table, column } => RepositoryError::Corrupt { table, column },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}
