//! Migrations of a `SQLite` file, over a connection of their own.

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::migrations::{self, RECORD, blocking};
use crate::start::{SchemaStatus, StartError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Opens the file, creating it if need be, and looks whose it is.
pub(crate) async fn check(path: String) -> Result<(), StartError> {
    blocking("open", move || open(&path, "open").map(drop)).await
}

/// Compares the migrations of the file with those of this binary.
pub(crate) async fn status(path: String) -> Result<SchemaStatus, StartError> {
    blocking("inspect", move || {
        let (_, applied) = open(&path, "inspect")?;
        Ok(migrations::compare(&applied, &migrations::known::<Sqlite>(&MIGRATIONS)?))
    })
    .await
}

/// Applies what waits.
pub(crate) async fn apply(path: String) -> Result<Vec<String>, StartError> {
    blocking("migrate", move || {
        let (mut connection, applied) = open(&path, "migrate")?;
        let known = migrations::known::<Sqlite>(&MIGRATIONS)?;
        migrations::apply(&mut connection, &applied, &known, |connection, migration| {
            connection.exclusive_transaction(|connection| {
                migrations::run_unless_applied(connection, migration)
            })
        })
    })
    .await
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The versions the file has, oldest first; `None` when the tables in it are somebody else's. Reads
/// only, unlike diesel's own way, which would leave its table in a foreign file.
fn applied_versions(connection: &mut SqliteConnection) -> QueryResult<Option<Vec<String>>> {
    let tables = names(
        connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' \
         ESCAPE '!'",
    )?;
    if tables.iter().any(|table| table == RECORD) {
        return names(connection, &format!("SELECT version AS name FROM {RECORD} ORDER BY 1"))
            .map(Some);
    }
    Ok(tables.is_empty().then(Vec::new))
}

fn names(connection: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows = diesel::sql_query(query).load::<NameRow>(connection)?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Connects to a file that is ours or new, and says which versions it has.
fn open(
    path: &str,
    operation: &'static str,
) -> Result<(SqliteConnection, Vec<String>), StartError> {
    let mut connection = super::open(path).map_err(|error| classify(&error, path, operation))?;
    let applied = applied_versions(&mut connection)
        .map_err(|error| classify(&error, path, operation))?
        .ok_or(StartError::Foreign)?;
    super::set_up(&mut connection).map_err(|error| classify(&error, path, operation))?;
    Ok((connection, applied))
}

/// diesel hands on the text of `SQLite`'s error, not its code.
fn classify<E>(error: &E, path: &str, operation: &'static str) -> StartError
where
    E: std::error::Error,
{
    let text = error.to_string();
    if text.contains("file is not a database") || text.contains("disk image is malformed") {
        StartError::NotADatabase { path: path.to_owned() }
    } else {
        StartError::unavailable(operation, format!("{path}: {text}"))
    }
}
