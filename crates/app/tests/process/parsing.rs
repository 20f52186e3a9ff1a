//! Parses of a server that is stopped or killed (contract §6.5, §14.4), V48.

use std::path::Path;

use coredock_testkit::sidecar::{Reply, ScriptedSidecar};
use rustix::process::Signal;
use tempfile::TempDir;

use super::support::files::{files_below, fresh_data_dir};
use super::support::server::Server;

struct Shared {
    sidecar: ScriptedSidecar,
    directory: TempDir,
}

impl Shared {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { sidecar: ScriptedSidecar::start(directory.path()).await, directory }
    }

    fn serve(&self, data_dir: &Path) -> Server {
        self.serve_with(data_dir, "auto")
    }

    fn serve_with(&self, data_dir: &Path, symbolizer: &str) -> Server {
        let settings = [
            ("SYMBOLIZER", symbolizer),
            ("PARSE_SIDECAR_URL", self.sidecar.url()),
            ("PARSE_SIDECAR_XFER_DIR", self.directory.path().to_str().unwrap()),
            ("PARSE_TIMEOUT_SECONDS", "1"),
            ("PARSE_LEASE_SECONDS", "2"),
            ("PARSE_RETRY_DELAYS", "0"),
        ];
        Server::start(data_dir, &settings)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v48_a_parse_cut_by_a_kill_is_done_by_the_next_start() {
    let shared = Shared::start().await;
    let (_directory, data_dir) = fresh_data_dir();
    let server = shared.serve(&data_dir);
    server.publish_demo(&["1.0.0"]).await;
    let key = server.create_device("{}").await;
    shared.sidecar.script([Reply::hang()]);
    let id = server.deliver(&key, "1.0.0", b"dump".to_vec()).await;
    shared.sidecar.wait_for_calls(1).await;
    server.kill();
    assert_eq!(files_below(shared.directory.path()).len(), 2, "no process could clean up");
    let server = shared.serve(&data_dir);
    let report = server.wait_for_dump(id, "PARSED").await;
    assert_eq!(report["attempts"], 2);
    server.stop();
    assert_eq!(files_below(shared.directory.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_dead_parse_are_removed_at_any_start() {
    let shared = Shared::start().await;
    let (_directory, data_dir) = fresh_data_dir();
    let server = shared.serve(&data_dir);
    server.publish_demo(&["1.0.0"]).await;
    let key = server.create_device("{}").await;
    shared.sidecar.script([Reply::hang()]);
    let id = server.deliver(&key, "1.0.0", b"dump".to_vec()).await;
    shared.sidecar.wait_for_calls(1).await;
    let path = format!("/api/devices/1/coredumps/{id}");
    server.send(server.request(reqwest::Method::DELETE, &path)).await.expect(204);
    server.kill();
    std::fs::write(shared.directory.path().join("notes.txt"), "foreign").unwrap();
    let server = shared.serve_with(&data_dir, "off");
    assert_eq!(files_below(shared.directory.path()), ["notes.txt"]);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_gives_its_parse_back_and_ends_soon() {
    let shared = Shared::start().await;
    let (_directory, data_dir) = fresh_data_dir();
    let server = shared.serve(&data_dir);
    server.publish_demo(&["1.0.0"]).await;
    let key = server.create_device("{}").await;
    shared.sidecar.script([Reply::hang()]);
    let id = server.deliver(&key, "1.0.0", b"dump".to_vec()).await;
    shared.sidecar.wait_for_calls(1).await;
    server.process().signal(Signal::TERM);
    let ended = std::time::Instant::now();
    server.wait().expect(0);
    assert!(ended.elapsed().as_secs() < 2, "{:?}", ended.elapsed());
    let server = shared.serve(&data_dir);
    let report = server.wait_for_dump(id, "PARSED").await;
    assert_eq!(report["attempts"], 1, "an attempt given back does not count");
    server.stop();
}
