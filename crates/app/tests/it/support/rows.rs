//! The rows beneath a server, read and written without it.

use std::path::Path;

use coredock_testkit::postgres;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Connections of their own to the server's database.
pub(crate) enum Rows {
    Sqlite(std::sync::Mutex<SqliteConnection>),
    Postgres { url: String },
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    value: String,
}

impl Rows {
    pub(crate) fn of_file(path: &Path) -> Self {
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut connection).unwrap();
        diesel::sql_query("PRAGMA foreign_keys = ON").execute(&mut connection).unwrap();
        Self::Sqlite(std::sync::Mutex::new(connection))
    }

    pub(crate) const fn of_server(url: String) -> Self {
        Self::Postgres { url }
    }

    /// Rows of a table that pass a condition.
    pub(crate) fn count(&self, table: &str, condition: &str) -> i64 {
        let query = format!("SELECT count(*) AS value FROM {table} WHERE {condition}");
        match self {
            Self::Sqlite(connection) => {
                let mut connection = connection.lock().unwrap();
                diesel::sql_query(query).get_result::<Number>(&mut *connection).unwrap().value
            }
            Self::Postgres { url } => postgres::texts(url, &query)[0].parse().unwrap(),
        }
    }

    /// One text per row; the query names its column `value`.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => {
                let mut connection = connection.lock().unwrap();
                let lines = diesel::sql_query(query).load::<Line>(&mut *connection).unwrap();
                lines.into_iter().map(|line| line.value).collect()
            }
            Self::Postgres { url } => postgres::texts(url, query),
        }
    }

    /// Runs a statement.
    pub(crate) fn execute(&self, statement: &str) {
        match self {
            Self::Sqlite(connection) => {
                diesel::sql_query(statement).execute(&mut *connection.lock().unwrap()).unwrap();
            }
            Self::Postgres { url } => postgres::execute(url, statement),
        }
    }
}
