//! Migrations of a `SQLite` file, over a connection of their own.

use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::start::{SchemaStatus, StartError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Where diesel keeps which migrations were applied.
const RECORD: &str = "__diesel_schema_migrations";

type Migrations = Vec<Box<dyn Migration<Sqlite>>>;

/// Opens the file, creating it if need be, and looks whose it is.
pub(crate) async fn check(path: String) -> Result<(), StartError> {
    blocking("open", move || open(&path, "open").map(drop)).await
}

/// Compares the migrations of the file with those of this binary.
pub(crate) async fn status(path: String) -> Result<SchemaStatus, StartError> {
    blocking("inspect", move || {
        let (_, applied) = open(&path, "inspect")?;
        Ok(compare(&applied, &known()?))
    })
    .await
}

/// Applies what waits.
pub(crate) async fn apply(path: String) -> Result<Vec<String>, StartError> {
    blocking("migrate", move || {
        let (mut connection, applied) = open(&path, "migrate")?;
        let migrations = known()?;
        let status = compare(&applied, &migrations);
        if !status.unknown.is_empty() {
            return Err(StartError::Newer { unknown: status.unknown });
        }
        let mut names = Vec::new();
        for migration in &migrations {
            if apply_one(&mut connection, migration.as_ref())
                .map_err(|error| StartError::unavailable("migrate", error))?
            {
                names.push(migration.name().to_string());
            }
        }
        Ok(names)
    })
    .await
}

/// Applies one migration unless it was, maybe by another process that held the lock just before.
fn apply_one(
    connection: &mut SqliteConnection,
    migration: &dyn Migration<Sqlite>,
) -> diesel::migration::Result<bool> {
    connection.exclusive_transaction(|connection| {
        if connection.applied_migrations()?.contains(&migration.name().version()) {
            return Ok(false);
        }
        connection.run_migration(migration)?;
        Ok(true)
    })
}

fn known() -> Result<Migrations, StartError> {
    let mut migrations = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)
        .map_err(|error| StartError::unavailable("migrate", error))?;
    migrations.sort_by_key(|migration| migration.name().version().as_owned());
    Ok(migrations)
}

fn compare(applied: &[String], known: &Migrations) -> SchemaStatus {
    let mut status = SchemaStatus::default();
    for migration in known {
        let version = migration.name().version().to_string();
        let names =
            if applied.contains(&version) { &mut status.applied } else { &mut status.pending };
        names.push(migration.name().to_string());
    }
    let is_known = |version: &String| {
        known.iter().any(|migration| migration.name().version().to_string() == *version)
    };
    status.unknown = applied.iter().filter(|version| !is_known(version)).cloned().collect();
    status
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
        .ok_or_else(|| StartError::Foreign { path: path.to_owned() })?;
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

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    task: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(task).await {
        Ok(result) => result,
        Err(error) => Err(StartError::unavailable(operation, error)),
    }
}
