mod postgres;

use std::path::Path;

use coredock_repository::{Database, SchemaStatus, StartError};
use diesel::connection::SimpleConnection;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::support::{Bench, OPTIONS, connect, file_in};

async fn open(file: &Path) -> Result<Database, StartError> {
    Database::open_sqlite(file, OPTIONS).await
}

#[tokio::test]
async fn a_new_file_gets_every_migration_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&file_in(&directory)).await.unwrap();
    let fresh = db.schema_status().await.unwrap();
    assert_eq!(fresh.applied, Vec::<String>::new());
    assert_eq!(db.pending_migrations().await.unwrap(), fresh.pending.len());
    assert_eq!(db.migrate().await.unwrap(), fresh.pending);
    assert_eq!(db.migrate().await.unwrap(), Vec::<String>::new());
    let migrated = SchemaStatus { applied: fresh.pending, ..SchemaStatus::default() };
    assert_eq!(db.schema_status().await.unwrap(), migrated);
    assert_eq!(db.pending_migrations().await.unwrap(), 0);
}

#[tokio::test]
async fn processes_that_migrate_together_apply_each_migration_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_in(&directory);
    let (one, two) = (open(&file).await.unwrap(), open(&file).await.unwrap());
    let pending = one.pending_migrations().await.unwrap();
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    assert_eq!(first.unwrap().len() + second.unwrap().len(), pending);
}

#[test]
fn migrations_go_up_down_and_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = connect(&file_in(&directory));
    let source = || FileBasedMigrations::from_path("../../migrations/sqlite").unwrap();
    let applied = connection.run_pending_migrations(source()).unwrap().len();
    assert_eq!(connection.revert_all_migrations(source()).unwrap().len(), applied);
    assert_eq!(connection.run_pending_migrations(source()).unwrap().len(), applied);
}

#[tokio::test]
async fn a_database_of_a_newer_coredock_is_refused_by_name() {
    let bench = Bench::sqlite().await;
    bench.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000001')");
    let db = open(&bench.file()).await.unwrap();
    for error in [db.pending_migrations().await.unwrap_err(), db.migrate().await.unwrap_err()] {
        assert!(matches!(&error, StartError::Newer { unknown } if unknown == &["20990101000001"]));
        assert!(error.to_string().contains("20990101000001"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let text = "not a database, but long enough to have a header ".repeat(20);
    std::fs::write(file_in(&directory), &text).unwrap();
    let error = open(&file_in(&directory)).await.err().unwrap();
    assert!(matches!(error, StartError::NotADatabase { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(file_in(&directory)).unwrap(), text);
}

#[tokio::test]
async fn tables_of_another_program_are_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_in(&directory);
    connect(&file).batch_execute("CREATE TABLE recipes (id integer);").unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = open(&file).await.err().unwrap();
    assert!(matches!(error, StartError::Foreign), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_an_outage() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&directory.path().join("missing/coredock.db")).await.err().unwrap();
    assert!(matches!(error, StartError::Unavailable { operation: "open", .. }), "{error:?}");
}

#[tokio::test]
async fn connections_are_set_up_for_durability() {
    let bench = Bench::sqlite().await;
    bench.db.ping().await.unwrap();
    assert_eq!(bench.lines("SELECT journal_mode AS line FROM pragma_journal_mode"), ["wal"]);
    bench.db.checkpoint().await.unwrap();
    bench.db.close();
    assert!(bench.db.ping().await.is_err());
    assert!(!bench.file().with_extension("db-wal").exists());
}
