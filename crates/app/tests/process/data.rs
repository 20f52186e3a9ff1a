//! Which processes may open the data, and which data is refused (contract §10, §14.5).

use std::path::Path;

use super::support::files::{execute, files_below, fresh_data_dir};
use super::support::process::{Ended, Process};
use super::support::server::Server;

fn command(data_dir: &Path, name: &str) -> Ended {
    let arguments = [name, "--data", data_dir.to_str().unwrap()];
    Process::run(data_dir.parent().unwrap(), &arguments, &[])
}

fn serve(data_dir: &Path) -> Ended {
    let data = data_dir.to_str().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data];
    Process::run(data_dir.parent().unwrap(), &arguments, &[])
}

#[tokio::test]
async fn a_data_directory_serves_one_process_at_a_time() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    let in_use = "is in use by another coredock process";
    let ended = serve(&data_dir).expect_misuse(in_use);
    assert!(ended.stderr.contains(data_dir.to_str().unwrap()), "{ended:?}");
    command(&data_dir, "sweep").expect_misuse(in_use);
    command(&data_dir, "upgrade-db").expect_misuse(in_use);
    server.get("/health/readyz").await.expect(200);
    server.stop();
    command(&data_dir, "upgrade-db").expect(0);
}

#[tokio::test]
async fn a_database_or_a_store_of_another_data_directory_is_in_use_too() {
    let (directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    let url = format!("sqlite://{}/coredock.db", data_dir.display());
    let store = data_dir.join("artifacts").display().to_string();
    for setting in [("DATABASE_URL", url.as_str()), ("ARTIFACT_DIR", &store)] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", "other"];
        let ended = Process::run(directory.path(), &arguments, &[setting]);
        ended.expect_misuse("is in use by another coredock process");
    }
    server.stop();
}

#[tokio::test]
async fn the_status_of_the_database_can_be_asked_beside_a_server() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    let ended = command(&data_dir, "db-status").expect(0);
    assert!(ended.stdout.contains("applied 2026-11-20-000001_initial"), "{ended:?}");
    assert!(!ended.stdout.contains("pending"), "{ended:?}");
    server.post_model("demo").await.expect(201);
    server.stop();
}

#[test]
fn the_status_of_a_missing_database_creates_none() {
    let (directory, data_dir) = fresh_data_dir();
    let ended = command(&data_dir, "db-status").expect(1);
    assert!(ended.stdout.contains("does not exist yet"), "{ended:?}");
    assert_eq!(files_below(directory.path()), [""; 0]);
}

/// Fails unless every command refuses the database with `reason` and does not change the file.
#[track_caller]
fn assert_refused(data_dir: &Path, reason: &str) {
    let database = data_dir.join("coredock.db");
    let before = std::fs::read(&database).unwrap();
    for ended in [serve(data_dir), command(data_dir, "upgrade-db"), command(data_dir, "sweep")] {
        let ended = ended.expect_misuse(reason);
        assert!(ended.stderr.contains(database.to_str().unwrap()), "{ended:?}");
    }
    command(data_dir, "db-status").expect(2);
    assert!(std::fs::read(&database).unwrap() == before, "the file was changed");
    let beside: Vec<String> = files_below(data_dir)
        .into_iter()
        .filter(|name| name.starts_with("coredock.db") && name != "coredock.db")
        .collect();
    assert_eq!(beside, [""; 0]);
}

#[test]
fn a_file_that_is_not_a_database_is_refused() {
    let (_directory, data_dir) = fresh_data_dir();
    std::fs::create_dir(&data_dir).unwrap();
    let noise: Vec<u8> =
        (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(data_dir.join("coredock.db"), noise).unwrap();
    assert_refused(&data_dir, "is not a SQLite database or is damaged");
}

#[test]
fn a_damaged_database_is_refused() {
    let (_directory, data_dir) = fresh_data_dir();
    command(&data_dir, "upgrade-db").expect(0);
    let database = data_dir.join("coredock.db");
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&database, bytes).unwrap();
    assert_refused(&data_dir, "is not a SQLite database or is damaged");
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let (_directory, data_dir) = fresh_data_dir();
    command(&data_dir, "upgrade-db").expect(0);
    let newer = "INSERT INTO __diesel_schema_migrations (version, run_on) \
                 VALUES ('20991231000001', '2099-12-31 00:00:00')";
    execute(&data_dir.join("coredock.db"), newer);
    assert_refused(&data_dir, "start the newer Coredock, or restore a backup");
    let ended = command(&data_dir, "db-status").expect(2);
    assert!(ended.stdout.contains("unknown 20991231000001"), "{ended:?}");
}

#[test]
fn a_database_of_another_program_is_refused() {
    let (_directory, data_dir) = fresh_data_dir();
    std::fs::create_dir(&data_dir).unwrap();
    execute(&data_dir.join("coredock.db"), "CREATE TABLE recipes (name text)");
    assert_refused(&data_dir, "name another database");
}

#[tokio::test]
async fn without_automatic_migration_it_serves_unready_until_the_operator_migrates() {
    let (_directory, data_dir) = fresh_data_dir();
    let by_hand = [("AUTO_MIGRATE", "false")];
    let server = Server::start(&data_dir, &by_hand);
    server.get("/health/healthz").await.expect(200);
    let unready = server.get("/health/readyz").await.expect(503).json();
    assert_eq!((&unready["ready"], &unready["status"]), (&false.into(), &"not ready".into()));
    assert_eq!(unready["database"]["connected"], true);
    assert!(unready["database"]["migrations_pending"].as_i64() >= Some(1), "{unready}");
    for path in ["/api/iot/config", "/api/iot/firmware", "/api/iot/firmware-version"] {
        server.get(&format!("{path}?device_key=abcd2345")).await.expect_outage();
    }
    server.get("/api/device-models").await.expect_outage();
    server.post_model("demo").await.expect_outage();
    let ended = command(&data_dir, "db-status").expect(1);
    assert!(ended.stdout.contains("pending 2026-11-20-000001_initial"), "{ended:?}");
    server.stop();
    let ended = command(&data_dir, "upgrade-db").expect(0);
    assert!(ended.stdout.contains("applied 2026-11-20-000001_initial"), "{ended:?}");
    let ended = command(&data_dir, "upgrade-db").expect(0);
    assert!(ended.stdout.contains("up to date"), "{ended:?}");
    let ended = command(&data_dir, "db-status").expect(0);
    assert!(ended.stdout.contains("applied 2026-11-20-000001_initial"), "{ended:?}");
    let server = Server::start(&data_dir, &by_hand);
    server.get("/health/readyz").await.expect(200);
    server.post_model("demo").await.expect(201);
    server.stop();
}
