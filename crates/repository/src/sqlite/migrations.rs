//! Migrations of a `SQLite` file, over a separate connection.

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::migrations::{self, MIGRATIONS_TABLE, SchemaStatus, blocking};
use crate::start_error::StartError;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Opens the file, creating it if it does not exist, and refuses tables of another program.
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

/// Applies the pending migrations.
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

/// The versions of the applied migrations, oldest first; `None` if the file has tables of another
/// program. Only reads: the function of diesel would create its table in the file.
fn applied_versions(connection: &mut SqliteConnection) -> QueryResult<Option<Vec<String>>> {
    let tables = names(
        connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' \
         ESCAPE '!'",
    )?;
    if tables.iter().any(|table| table == MIGRATIONS_TABLE) {
        return names(
            connection,
            &format!("SELECT version AS name FROM {MIGRATIONS_TABLE} ORDER BY 1"),
        )
        .map(Some);
    }
    Ok(tables.is_empty().then(Vec::new))
}

fn names(connection: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows = diesel::sql_query(query).load::<NameRow>(connection)?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Connects to a file which is new or has the tables of Coredock; returns its applied versions too.
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

/// Recognises errors by their text, because diesel does not pass on the codes of `SQLite`.
fn classify<E>(error: &E, path: &str, operation: &'static str) -> StartError
where
    E: std::error::Error,
{
    let text = error.to_string();
    if text.contains("file is not a database") || text.contains("disk image is malformed") {
        StartError::NotADatabase { path: path.to_owned() }
    } else {
        StartError::unavailable(operation, text)
    }
}
