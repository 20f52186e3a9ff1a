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

    /// From here on no change goes through: none can be audited.
    pub(crate) fn break_audit(&self) {
        match self {
            Self::Sqlite(_) => self.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON audit_records \
                 BEGIN SELECT RAISE(ABORT, 'injected'); END",
            ),
            Self::Postgres { .. } => self.execute(&postgres::break_inserts("audit_records")),
        }
    }

    /// Undoes [`Rows::break_audit`].
    pub(crate) fn mend_audit(&self) {
        match self {
            Self::Sqlite(_) => self.execute("DROP TRIGGER broken"),
            Self::Postgres { .. } => self.execute(&postgres::mend_inserts("audit_records")),
        }
    }

    /// From here on no result of a dump can be written.
    pub(crate) fn block_dumps(&self) {
        match self {
            Self::Sqlite(_) => self.execute("BEGIN IMMEDIATE"),
            Self::Postgres { .. } => self.execute("ALTER TABLE coredumps RENAME TO away"),
        }
    }

    /// Undoes [`Rows::block_dumps`].
    pub(crate) fn unblock_dumps(&self) {
        match self {
            Self::Sqlite(_) => self.execute("COMMIT"),
            Self::Postgres { .. } => self.execute("ALTER TABLE away RENAME TO coredumps"),
        }
    }

    /// The whole seconds of the instant in a column, as SQL.
    pub(crate) fn seconds_of(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("strftime('%s', {column})"),
            Self::Postgres { .. } => format!("floor(extract(epoch FROM {column}))"),
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
