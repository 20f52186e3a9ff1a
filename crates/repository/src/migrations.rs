//! The applied and the pending migrations of a database.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::start_error::StartError;

/// The table in which diesel records the applied migrations.
pub(crate) const MIGRATIONS_TABLE: &str = "__diesel_schema_migrations";

/// The applied and the pending migrations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaStatus {
    /// Names of the migrations which the database has, oldest first.
    pub applied: Vec<String>,
    /// Names of the migrations which the database lacks, oldest first.
    pub pending: Vec<String>,
    /// Versions of the migrations which the database has and this binary does not know.
    pub unknown: Vec<String>,
}

pub(crate) type Migrations<B> = Vec<Box<dyn Migration<B>>>;

/// The migrations of this binary, oldest first.
pub(crate) fn known<B: Backend>(
    embedded: &EmbeddedMigrations,
) -> Result<Migrations<B>, StartError> {
    let mut migrations = MigrationSource::<B>::migrations(embedded)
        .map_err(|error| StartError::unavailable("migrate", error))?;
    migrations.sort_by_key(|migration| migration.name().version().as_owned());
    Ok(migrations)
}

/// Compares the versions that a database has with the migrations of this binary.
pub(crate) fn compare<B: Backend>(applied: &[String], known: &Migrations<B>) -> SchemaStatus {
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

/// Applies the pending migrations with `apply_one`, which returns `false` if the database has one
/// already. Returns the names of the applied migrations.
pub(crate) fn apply<B: Backend, C: MigrationHarness<B>>(
    connection: &mut C,
    applied: &[String],
    known: &Migrations<B>,
    mut apply_one: impl FnMut(&mut C, &dyn Migration<B>) -> diesel::migration::Result<bool>,
) -> Result<Vec<String>, StartError> {
    let status = compare(applied, known);
    if !status.unknown.is_empty() {
        return Err(StartError::Newer { unknown: status.unknown });
    }
    let mut names = Vec::new();
    for migration in known {
        if apply_one(connection, migration.as_ref())
            .map_err(|error| StartError::unavailable("migrate", error))?
        {
            names.push(migration.name().to_string());
        }
    }
    Ok(names)
}

/// Runs a migration unless the database has it: another process may have applied it while this one
/// waited for the lock. The caller has begun a transaction.
pub(crate) fn run_unless_applied<B: Backend, C: MigrationHarness<B>>(
    connection: &mut C,
    migration: &dyn Migration<B>,
) -> diesel::migration::Result<bool> {
    if connection.applied_migrations()?.contains(&migration.name().version()) {
        return Ok(false);
    }
    connection.run_migration(migration)?;
    Ok(true)
}

/// Runs a task on tokio's blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    task: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(task).await {
        Ok(result) => result,
        Err(error) => Err(StartError::unavailable(operation, error)),
    }
}
