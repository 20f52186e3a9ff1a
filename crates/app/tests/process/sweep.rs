//! `coredock sweep` and the sweep of the server (contract §9, I6).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::support::files::{OLD, files_below, fresh_data_dir, place};
use super::support::process::{Ended, Process};
use super::support::server::Server;
use super::support::wait_until;

/// Two keys that no row refers to.
const GARBAGE: &str = "firmware/demo/0.9.0/firmware.map";
const MORE_GARBAGE: &str = "coredumps/abcd2345/17.dmp";

/// A data directory without a running server, with a store of sixteen objects.
struct Site {
    _directory: TempDir,
    data_dir: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let (directory, data_dir) = fresh_data_dir();
        let server = Server::start(&data_dir, &[]);
        server.publish_demo(&["1.0.0", "1.0.1", "1.0.2"]).await;
        server.stop();
        Self { _directory: directory, data_dir }
    }

    fn sweep(&self, flags: &[&str]) -> Ended {
        let arguments = [&["sweep", "--data", self.data_dir.to_str().unwrap()], flags].concat();
        Process::run(self.data_dir.parent().unwrap(), &arguments, &[])
    }

    fn artifacts(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    fn place(&self, key: &str, age: Duration) {
        place(&self.artifacts().join(key), age);
    }

    fn has(&self, key: &str) -> bool {
        self.artifacts().join(key).exists()
    }

    fn owner(&self) -> PathBuf {
        self.artifacts().join("coredock/owner")
    }

    /// All objects except the owner mark, which counts the runs of the sweep.
    fn objects(&self) -> Vec<String> {
        let mut files = files_below(&self.artifacts());
        files.retain(|file| file != "coredock/owner" && file != "coredock.lock");
        files
    }

    /// Fails unless every version can still be downloaded.
    async fn assert_versions_are_whole(&self) {
        let server = Server::start(&self.data_dir, &[]);
        assert_eq!(server.versions().await, ["1.0.2", "1.0.1", "1.0.0"]);
        for version in ["1.0.0", "1.0.1", "1.0.2"] {
            for artifact in ["firmware.bin", "firmware.elf", "firmware.map", "sdkconfig"] {
                let version = format!("/api/device-models/1/firmware-versions/{version}");
                server.get(&format!("{version}/artifacts/{artifact}")).await.expect(200);
            }
        }
        server.stop();
    }
}

fn without(objects: &[String], removed: &[&str]) -> Vec<String> {
    objects.iter().filter(|object| !removed.contains(&object.as_str())).cloned().collect()
}

#[track_caller]
fn assert_says(ended: &Ended, text: &str) {
    assert!(ended.stdout.contains(text), "{text} is not in {ended:?}");
}

#[tokio::test]
async fn old_garbage_is_removed_and_everything_else_stays() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    site.place("firmware/demo/0.9.1/firmware.map", Duration::from_hours(23));
    for foreign in [
        "firmware/demo/1.0.0/notes.txt",
        "firmware/README",
        "firmware/Straße/1.0.0/firmware.bin",
        "rom/esp32.elf",
        "symbols/abc/firmware.elf",
        "coredumps/abcd2345/017.dmp",
    ] {
        site.place(foreign, OLD);
    }
    for foreign in ["README", "other/firmware/demo/0.9.0/firmware.map", "coredock/notes"] {
        site.place(foreign, OLD);
    }
    let before = site.objects();
    let ended = site.sweep(&[]).expect(0);
    assert_says(&ended, "firmware/: 1 garbage, 1 removed");
    assert_says(&ended, "6 objects have names that Coredock does not use; they were not changed");
    assert_eq!(site.objects(), without(&before, &[GARBAGE]));
    site.assert_versions_are_whole().await;
}

#[tokio::test]
async fn a_dry_run_reports_and_changes_nothing() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    let (before, owner) = (site.objects(), std::fs::read(site.owner()).unwrap());
    let ended = site.sweep(&["--dry-run"]).expect(0);
    assert_says(&ended, "17 objects seen, 1 garbage");
    assert_says(&ended, "dry run: nothing was changed");
    assert_eq!(site.objects(), before);
    assert_eq!(std::fs::read(site.owner()).unwrap(), owner);
    site.sweep(&[]).expect(0);
    assert!(!site.has(GARBAGE));
}

#[tokio::test]
async fn more_than_a_tenth_waits_for_a_confirmation() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    site.place(MORE_GARBAGE, OLD);
    let before = site.objects();
    for flags in [&["--dry-run"][..], &[], &[]] {
        let status = i32::from(flags.is_empty());
        site.sweep(flags).expect(status);
        assert_eq!(site.objects(), before);
    }
    let ended = site.sweep(&[]).expect(1);
    assert_says(&ended, "more garbage than is plausible");
    assert_says(&ended, "--confirm");
    site.sweep(&["--confirm"]).expect(0);
    assert_eq!(site.objects(), without(&before, &[GARBAGE, MORE_GARBAGE]));
    site.assert_versions_are_whole().await;
}

#[tokio::test]
async fn a_store_without_a_mark_is_adopted_reported_and_only_then_swept() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    std::fs::remove_file(site.owner()).unwrap();
    let before = site.objects();
    let ended = site.sweep(&[]).expect(1);
    assert_says(&ended, "no owner mark");
    let server = Server::start(&site.data_dir, &[]);
    server.get("/health/readyz").await.expect(200);
    server.stop();
    assert!(!site.owner().exists(), "a start adopts no store");
    site.sweep(&["--dry-run"]).expect(0);
    assert!(!site.owner().exists(), "a dry run adopts no store");
    assert_says(&site.sweep(&["--confirm"]).expect(0), "the store was adopted");
    assert_eq!(site.objects(), before);
    assert_says(&site.sweep(&[]).expect(0), "first run");
    assert_eq!(site.objects(), before);
    site.sweep(&[]).expect(0);
    assert_eq!(site.objects(), without(&before, &[GARBAGE]));
    site.assert_versions_are_whole().await;
}

#[tokio::test]
async fn after_an_adoption_not_even_a_confirmation_skips_the_report() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    std::fs::remove_file(site.owner()).unwrap();
    site.sweep(&["--confirm"]).expect(0);
    assert_says(&site.sweep(&["--confirm"]).expect(0), "first run");
    assert!(site.has(GARBAGE));
    site.sweep(&[]).expect(0);
    assert!(!site.has(GARBAGE));
}

#[tokio::test]
async fn a_store_of_another_installation_is_left_alone() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    let foreign = "somebody-else\n7\n";
    std::fs::write(site.owner(), foreign).unwrap();
    let before = site.objects();
    let ended = site.sweep(&[]).expect(1);
    assert_says(&ended, "belongs to installation somebody-else");
    assert_eq!(site.objects(), before);
    assert_eq!(std::fs::read_to_string(site.owner()).unwrap(), foreign);
}

#[tokio::test]
async fn a_fresh_database_before_a_full_store_takes_nothing_for_garbage() {
    let site = Site::new().await;
    let before = site.objects();
    std::fs::remove_file(site.data_dir.join("coredock.db")).unwrap();
    site.sweep(&[]).expect(1);
    assert_eq!(site.objects(), before);
}

#[tokio::test]
async fn an_older_database_brought_back_only_reports_at_first() {
    let site = Site::new().await;
    let database = site.data_dir.join("coredock.db");
    let backup = site.data_dir.join("backup");
    std::fs::copy(&database, &backup).unwrap();
    site.sweep(&[]).expect(0);
    copy_back(&backup, &database);
    site.place(GARBAGE, OLD);
    let before = site.objects();
    assert_says(&site.sweep(&[]).expect(0), "first run");
    assert_eq!(site.objects(), before);
    site.sweep(&[]).expect(0);
    assert_eq!(site.objects(), without(&before, &[GARBAGE]));
}

/// Replaces a database that no process has open by a copy.
fn copy_back(backup: &Path, database: &Path) {
    for suffix in ["-wal", "-shm"] {
        let beside = PathBuf::from(format!("{}{suffix}", database.display()));
        assert!(!beside.exists(), "the database was not closed well");
    }
    std::fs::rename(backup, database).unwrap();
}

#[tokio::test]
async fn an_empty_store_has_no_garbage() {
    let (directory, data_dir) = fresh_data_dir();
    let arguments = ["sweep", "--data", data_dir.to_str().unwrap()];
    Process::run(directory.path(), &arguments, &[]).expect(0);
}

#[tokio::test]
async fn the_server_sweeps_by_itself() {
    let site = Site::new().await;
    site.place(GARBAGE, OLD);
    site.place("firmware/demo/0.9.1/firmware.map", Duration::ZERO);
    let before = site.objects();
    let data = site.data_dir.to_str().unwrap();
    let arguments = ["serve", "--testing", "--listen", "127.0.0.1:0", "--data", data];
    let settings = [("SWEEP_INTERVAL_SECONDS", "1")];
    let directory = site.data_dir.parent().unwrap();
    let server = Server::start_with(directory, &arguments, &settings, &site.data_dir);
    wait_until("garbage is removed", || !site.has(GARBAGE));
    wait_until("the sweep is logged", || {
        let is_sweep =
            |line: &serde_json::Value| line["event"] == "sweep_finished" && line["removed"] == 1;
        server.process().log().iter().any(is_sweep)
    });
    server.stop();
    assert_eq!(site.objects(), without(&before, &[GARBAGE]));
}
