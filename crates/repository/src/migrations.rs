//! Which migrations a database has, and which it waits for.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::start::{SchemaStatus, StartError};

/// Where diesel keeps which migrations were applied.
pub(crate) const RECORD: &str = "__diesel_schema_migrations";

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

/// Compares the versions a database has with the migrations of this binary.
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

/// Applies what waits with `apply_one`, which says whether it still had to; returns the names.
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

/// Runs one migration unless the database has it, maybe from another process that held the lock
/// just before. The caller holds a transaction.
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

/// Runs what blocks on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    task: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(task).await {
        Ok(result) => result,
        Err(error) => Err(StartError::unavailable(operation, error)),
    }
}
