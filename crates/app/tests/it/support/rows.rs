//! The rows of a server's database, read and written without the server.

use std::path::Path;

use coredock_testkit::database::Database;
use coredock_testkit::postgres;

/// The server's database on a separate connection.
pub(crate) struct Rows(Database);

impl Rows {
    pub(crate) fn of_file(path: &Path) -> Self {
        let database = Database::of_file(path).unwrap();
        database.execute("PRAGMA foreign_keys = ON").unwrap();
        Self(database)
    }

    pub(crate) const fn of_server(url: String) -> Self {
        Self(Database::of_server(url))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0
    }

    /// The number of rows of a table that fulfil a condition.
    pub(crate) fn count(&self, table: &str, condition: &str) -> i64 {
        self.0.count(table, condition).unwrap()
    }

    /// One text per row; the query names its column `value`.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        self.0.texts(query).unwrap()
    }

    pub(crate) fn execute(&self, statement: &str) {
        self.0.execute(statement).unwrap();
    }

    /// Makes every change fail, because it cannot be audited.
    pub(crate) fn break_audit(&self) {
        match &self.0 {
            Database::Sqlite(_) => self.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON audit_records \
                 BEGIN SELECT RAISE(ABORT, 'injected'); END",
            ),
            Database::Postgres { .. } => self.execute(&postgres::break_inserts("audit_records")),
        }
    }

    /// Undoes [`Rows::break_audit`].
    pub(crate) fn restore_audit(&self) {
        match &self.0 {
            Database::Sqlite(_) => self.execute("DROP TRIGGER broken"),
            Database::Postgres { .. } => self.execute(&postgres::mend_inserts("audit_records")),
        }
    }

    /// Keeps results of dumps from being written.
    pub(crate) fn block_dumps(&self) {
        match &self.0 {
            Database::Sqlite(_) => self.execute("BEGIN IMMEDIATE"),
            Database::Postgres { .. } => self.execute("ALTER TABLE coredumps RENAME TO away"),
        }
    }

    /// Undoes [`Rows::block_dumps`].
    pub(crate) fn unblock_dumps(&self) {
        match &self.0 {
            Database::Sqlite(_) => self.execute("COMMIT"),
            Database::Postgres { .. } => self.execute("ALTER TABLE away RENAME TO coredumps"),
        }
    }

    /// The whole seconds of the instant in a column, as SQL.
    pub(crate) fn seconds_of(&self, column: &str) -> String {
        match &self.0 {
            Database::Sqlite(_) => format!("strftime('%s', {column})"),
            Database::Postgres { .. } => format!("floor(extract(epoch FROM {column}))"),
        }
    }
}
