//! Files of a data directory, read and written without the server.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coredock_testkit::database::Database;
use coredock_testkit::files::names_below;
use tempfile::TempDir;

/// Older than the default of every grace period.
pub(crate) const OLD: Duration = Duration::from_hours(48);

/// A directory to work in and the data directory `data` below it.
pub(crate) fn fresh_data_dir() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    (directory, data_dir)
}

/// Writes a file of this age, with the directories above it.
pub(crate) fn place(path: &Path, age: Duration) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "placed by a test").unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// Paths of all files below a directory, relative to it and sorted.
pub(crate) fn files_below(directory: &Path) -> Vec<String> {
    names_below(directory).unwrap()
}

/// The number of rows of a table in a `SQLite` file that fulfil a condition.
pub(crate) fn count(database: &Path, table: &str, condition: &str) -> i64 {
    Database::of_file(database).unwrap().count(table, condition).unwrap()
}

/// Runs a statement on a `SQLite` file, which is created if it does not exist.
pub(crate) fn execute(database: &Path, statement: &str) {
    Database::of_file(database).unwrap().execute(statement).unwrap();
}
