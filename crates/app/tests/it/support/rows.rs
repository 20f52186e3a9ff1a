//! The rows beneath a server, read and written without it.

use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// A connection of its own to the server's SQLite file.
pub(crate) struct Rows {
    connection: std::sync::Mutex<SqliteConnection>,
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
    pub(crate) fn open(path: &Path) -> Self {
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut connection).unwrap();
        diesel::sql_query("PRAGMA foreign_keys = ON").execute(&mut connection).unwrap();
        Self { connection: std::sync::Mutex::new(connection) }
    }

    /// Rows of a table that pass a condition.
    pub(crate) fn count(&self, table: &str, condition: &str) -> i64 {
        let query = format!("SELECT count(*) AS value FROM {table} WHERE {condition}");
        let mut connection = self.connection.lock().unwrap();
        diesel::sql_query(query).get_result::<Number>(&mut *connection).unwrap().value
    }

    /// One text per row; the query names its column `value`.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        let mut connection = self.connection.lock().unwrap();
        let lines = diesel::sql_query(query).load::<Line>(&mut *connection).unwrap();
        lines.into_iter().map(|line| line.value).collect()
    }

    /// Runs a statement.
    pub(crate) fn execute(&self, statement: &str) {
        diesel::sql_query(statement).execute(&mut *self.connection.lock().unwrap()).unwrap();
    }
}
