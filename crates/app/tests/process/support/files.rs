//! Files of a data directory, looked at and placed behind the server's back.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use diesel::prelude::*;
use tempfile::TempDir;

/// Older than any grace a test leaves at its default.
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
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(directory).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

/// How many rows of a table of a `SQLite` file, which no server has open, fulfil a condition.
pub(crate) fn count(database: &Path, table: &str, condition: &str) -> i64 {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    let query = format!("SELECT count(*) AS count FROM {table} WHERE {condition}");
    diesel::sql_query(query).get_result::<Count>(&mut connection).unwrap().count
}

/// Runs a statement on a `SQLite` file that no server has open, creating it if need be.
pub(crate) fn execute(database: &Path, statement: &str) {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    diesel::sql_query(statement).execute(&mut connection).unwrap();
}
