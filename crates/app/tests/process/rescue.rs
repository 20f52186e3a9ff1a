//! Rescued dumps and `kill -9` (contract §4.5): none is lost or recorded twice.

use std::path::{Path, PathBuf};

use super::support::files::{files_below, fresh_data_dir};
use super::support::process::Process;
use super::support::server::Server;
use super::support::wait_until;

const BODY: &[u8] = b"a dump";

/// Names of the waiting dumps.
fn waiting(data_dir: &Path) -> Vec<String> {
    let mut files = files_below(&data_dir.join("rescue"));
    files.retain(|file| file != "rescue.lock");
    files
}

/// Makes writes of dumps fail until it is removed.
fn obstacle(data_dir: &Path) -> PathBuf {
    let path = data_dir.join("artifacts/coredumps");
    std::fs::write(&path, "in the way").unwrap();
    path
}

/// Starts on data with a rescued dump, and checks that the dump is recorded once.
async fn check_recorded_once(data_dir: &Path) {
    let server = Server::start(data_dir, &[]);
    wait_until("no dump waits", || waiting(data_dir).is_empty());
    let dumps = server.dumps().await;
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    assert_eq!(dumps[0]["occurrences"], 1);
    let path = format!("/api/devices/1/coredumps/{}/download", dumps[0]["id"]);
    assert_eq!(server.get(&path).await.expect(200).body, BODY);
    let objects = files_below(&data_dir.join("artifacts/coredumps"));
    assert_eq!(objects.len(), 1, "{objects:?}");
    server.stop();
}

#[tokio::test]
async fn a_kill_right_after_the_503_loses_no_dump() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    let obstacle = obstacle(&data_dir);
    server.post_dump(&key, "1", BODY.to_vec()).await.expect_outage();
    server.kill();
    std::fs::remove_file(obstacle).unwrap();
    check_recorded_once(&data_dir).await;
}

/// The row is committed, and the process dies before it removes the file: twice.
#[tokio::test]
async fn a_kill_between_commit_and_removal_records_no_second_dump() {
    // Without a window of repeats only the id in the file prevents a second row.
    let settings = [("COREDUMP_DEDUPE_SECONDS", "0")];
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &settings);
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    let obstacle = obstacle(&data_dir);
    server.post_dump(&key, "1", BODY.to_vec()).await.expect_outage();
    server.kill();
    std::fs::remove_file(obstacle).unwrap();
    let rescued = waiting(&data_dir);
    let file = data_dir.join("rescue").join(&rescued[0]);
    let data = data_dir.to_str().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data];
    for _ in 0..2 {
        let (calls, tampering) = ("unlink,unlinkat", "error=EIO:signal=KILL");
        let directory = data_dir.parent().unwrap();
        let doomed = Process::start_tampered(directory, &arguments, &file, calls, tampering);
        assert_eq!(doomed.wait().status, None, "killed");
        assert_eq!(waiting(&data_dir), rescued);
        let objects = files_below(&data_dir.join("artifacts/coredumps"));
        assert_eq!(objects.len(), 1, "{objects:?}");
    }
    check_recorded_once(&data_dir).await;
}

/// The store hangs, the device is answered with a 503 at its deadline, and the process is killed
/// before the store fails.
#[tokio::test]
async fn a_kill_between_the_deadline_and_the_failure_loses_no_dump() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start_hanging(&data_dir, &data_dir.join("artifacts/coredumps"));
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    server.post_dump(&key, "1", BODY.to_vec()).await.expect_outage();
    assert!(!data_dir.join("artifacts/coredumps").exists(), "it still hangs");
    assert_eq!(waiting(&data_dir).len(), 1);
    server.kill();
    check_recorded_once(&data_dir).await;
}
