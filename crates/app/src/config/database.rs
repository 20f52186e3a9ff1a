//! Settings of the database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coredock_repository::PostgresUrl;

use super::reader::Reader;

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`
    pub place: DatabasePlace,
    /// Connections that stay open (`DB_POOL_SIZE`).
    pub pool_size: usize,
    /// Further connections while those are in use (`DB_POOL_MAX_OVERFLOW`).
    pub overflow: usize,
    /// Longest wait for a connection and for an answer (`DB_POOL_TIMEOUT`).
    pub wait: Duration,
    /// Whether the server applies pending migrations at start (`AUTO_MIGRATE`).
    pub auto_migrate: bool,
}

#[derive(Debug, Clone)]
pub enum DatabasePlace {
    /// The database file.
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// The form of `DATABASE_URL`, without a password.
impl fmt::Display for DatabasePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(formatter, "sqlite://{}", file.display()),
            Self::Postgres(url) => url.fmt(formatter),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, data_dir: &Path) -> DatabaseConfig {
    let place = match reader.optional("DATABASE_URL").map(|url| place_of(&url)) {
        None => DatabasePlace::Sqlite(data_dir.join("coredock.db")),
        Some(Ok(place)) => place,
        Some(Err(fault)) => {
            reader.fault(format!("DATABASE_URL: {fault}"));
            DatabasePlace::Sqlite(PathBuf::new())
        }
    };
    let number = |name| usize::try_from(reader.integer(name)).unwrap_or(usize::MAX);
    DatabaseConfig {
        place,
        pool_size: number("DB_POOL_SIZE"),
        overflow: number("DB_POOL_MAX_OVERFLOW"),
        wait: reader.seconds("DB_POOL_TIMEOUT"),
        auto_migrate: reader.boolean("AUTO_MIGRATE"),
    }
}

/// `sqlite:FILE`, `sqlite://FILE` (so that three slashes begin an absolute path) or a PostgreSQL
/// URL. The error text never repeats the URL, which may contain a password.
fn place_of(url: &str) -> Result<DatabasePlace, String> {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return PostgresUrl::parse(url).map(DatabasePlace::Postgres);
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains(":memory:") || path.contains('?') {
        return Err("must name a file, as in sqlite://./data/coredock.db".into());
    }
    Ok(DatabasePlace::Sqlite(PathBuf::from(path)))
}
