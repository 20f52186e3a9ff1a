//! Access to the database of a server without the server.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::postgres;

/// A connection to a SQLite file, or the URL of a PostgreSQL database, to which each query
/// connects.
pub enum Database {
    Sqlite(Box<Mutex<SqliteConnection>>),
    Postgres { url: String },
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    value: String,
}

impl Database {
    /// Opens a SQLite file, which a server may have open too; creates it if it does not exist.
    pub fn of_file(path: &Path) -> Result<Self> {
        let text = path.to_str().context("the path is not UTF-8")?;
        let mut connection = SqliteConnection::establish(text)
            .with_context(|| format!("cannot open {}", path.display()))?;
        connection.batch_execute("PRAGMA busy_timeout = 5000")?;
        Ok(Self::Sqlite(Box::new(Mutex::new(connection))))
    }

    pub const fn of_server(url: String) -> Self {
        Self::Postgres { url }
    }

    /// The texts which a query yields; its only column is `value`.
    pub fn texts(&self, query: &str) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(connection) => {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let lines = diesel::sql_query(query).load::<Line>(&mut *connection);
                let lines = lines.with_context(|| query.to_owned())?;
                Ok(lines.into_iter().map(|line| line.value).collect())
            }
            Self::Postgres { url } => Ok(postgres::texts(url, query)),
        }
    }

    /// Number of rows of a table which fulfil a condition.
    pub fn count(&self, table: &str, condition: &str) -> Result<i64> {
        let query =
            format!("SELECT CAST(count(*) AS text) AS value FROM {table} WHERE {condition}");
        Ok(self.texts(&query)?.first().context("the count has no row")?.parse()?)
    }

    pub fn execute(&self, statements: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                connection.batch_execute(statements).with_context(|| statements.to_owned())
            }
            Self::Postgres { url } => {
                postgres::execute(url, statements);
                Ok(())
            }
        }
    }
}
