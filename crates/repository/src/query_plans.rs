//! For tests: the plans of queries, as `SQLite` makes them for an empty database.

use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

#[derive(QueryableByName)]
struct StepRow {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// The steps of the plan of a query.
pub(crate) fn plan_of(query: &impl QueryFragment<Sqlite>) -> Vec<String> {
    plan(&diesel::debug_query(query).to_string())
}

/// The steps of the plan of a statement.
pub(crate) fn plan(statement: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    let source = FileBasedMigrations::from_path("../../migrations/sqlite").unwrap();
    connection.run_pending_migrations(source).unwrap();
    let steps = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
    let steps = steps.load::<StepRow>(&mut connection).unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}
