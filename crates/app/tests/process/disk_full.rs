//! A full disk: writes are refused and leave nothing, reads work, and the server recovers by
//! itself.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use coredock_testkit::firmware::{BundleBuilder, ZipEntry, bundle, image};
use tempfile::TempDir;

use super::support::files::files_below;
use super::support::server::Server;

const SMALL_FS: &str = "COREDOCK_TEST_SMALL_FS";
const PIECE: usize = 4096;

/// A new data directory on the small file system.
fn small_data_dir() -> (TempDir, PathBuf) {
    let small_fs = std::env::var_os(SMALL_FS).filter(|path| !path.is_empty());
    let Some(small_fs) = small_fs else {
        panic!("{SMALL_FS} is not set: run the tests with `cargo xtask test`, which sets it up")
    };
    let directory = TempDir::new_in(small_fs).unwrap();
    let data_dir = directory.path().join("data");
    (directory, data_dir)
}

/// A file that fills the disk until it is dropped.
struct Filler {
    file: File,
    path: PathBuf,
    written: u64,
}

impl Filler {
    fn fill(directory: &Path) -> Self {
        let path = directory.join("filler");
        let mut filler = Self { file: File::create(&path).unwrap(), path, written: 0 };
        filler.fill_up();
        filler
    }

    /// Fills the space that became free.
    fn fill_up(&mut self) {
        for piece in [256 * PIECE, PIECE, 1] {
            let zeros = vec![0; piece];
            loop {
                match self.file.write(&zeros) {
                    Ok(written) => self.written += written as u64,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
                assert!(self.written < 64 << 20, "{SMALL_FS} is not small");
            }
        }
    }

    /// Frees this many bytes.
    fn leave(&mut self, bytes: u64) {
        use std::io::Seek;
        self.written = self.written.saturating_sub(bytes);
        self.file.set_len(self.written).unwrap();
        self.file.seek(std::io::SeekFrom::End(0)).unwrap();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Closing alone may come too late: processes that tests start hold copies of open files
        // until they run their program.
        drop(self.file.set_len(0));
        drop(std::fs::remove_file(&self.path));
    }
}

/// One test, because no other test could write to the full file system.
#[tokio::test]
async fn a_full_disk_refuses_writes_leaves_nothing_and_serves_reads() {
    let (directory, data_dir) = small_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.wait_for_owner_mark();
    server.publish_demo(&["1.0.0"]).await;
    let device = server.create_device(r#"{"deviceName":"Hall","deviceEntityId":"hall"}"#).await;
    let objects = objects_of(&data_dir);

    let filler = Filler::fill(directory.path());
    server.upload(bundle("2.0.0")).await.expect_outage();
    let created = create_models_until_refused(&server).await;
    assert_reads_work(&server, &device).await;
    assert_eq!(server.versions().await, ["1.0.0"]);
    assert_eq!(server.model_codes().await, created);
    assert_eq!(objects_of(&data_dir), objects);
    assert_eq!(files_below(&data_dir.join("tmp")), [""; 0]);

    drop(filler);
    server.post_model("afterwards").await.expect(201);
    server.upload(bundle("2.0.0")).await.expect(200);
    assert_eq!(server.versions().await, ["2.0.0", "1.0.0"]);
    refuse_at_every_step(&server, directory.path()).await;
    let ended = server.stop();
    assert_eq!(ended.stderr, "");
}

fn objects_of(data_dir: &Path) -> Vec<String> {
    files_below(&data_dir.join("artifacts"))
}

/// The log of the database has spare room, so the first requests may succeed. Every answer must be
/// true.
async fn create_models_until_refused(server: &Server) -> Vec<String> {
    let mut created = vec!["demo".to_owned()];
    for number in 0..5000 {
        let code = format!("model_{number:04}");
        let answer = server.post_model(&code).await;
        if answer.status != 201 {
            answer.expect_outage();
            return created;
        }
        created.push(code);
    }
    panic!("the disk is not full");
}

async fn assert_reads_work(server: &Server, device: &str) {
    let firmware = server.get(&format!("/api/iot/firmware?device_key={device}")).await;
    assert_eq!(firmware.expect(200).body, image("1.0.0", 4096));
    let config = server.get(&format!("/api/iot/config?device_key={device}")).await.expect(200);
    assert_eq!(config.json()["deviceName"], "Hall");
    let version = server.get(&format!("/api/iot/firmware-version?device_key={device}")).await;
    assert_eq!(version.expect(200).json()["firmware_version"], "1.0.0");
    server.get("/api/devices").await.expect(200);
    server.get("/api/device-models/1").await.expect(200);
    server.get("/health/healthz").await.expect(200);
    let ready = server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["database"]["ok"], true, "{ready}");
}

/// Lets the space run out later and later in an upload, until the upload succeeds.
async fn refuse_at_every_step(server: &Server, directory: &Path) {
    let large = |version: &str| {
        let large = BundleBuilder::new("demo", version).bin(image(version, 256 << 10));
        large.change_all(ZipEntry::stored).build()
    };
    let mut filler = Filler::fill(directory);
    let mut refusals = 0;
    for step in 0.. {
        filler.fill_up();
        filler.leave(step * (64 << 10));
        let before = server.versions().await;
        let answer = server.upload(large("3.0.0")).await;
        assert_eq!(leftovers(server.data_dir()), [""; 0], "step {step}");
        if answer.status == 200 {
            break;
        }
        answer.expect_outage();
        assert_eq!(server.versions().await, before, "step {step}");
        refusals += 1;
    }
    assert!(refusals > 4, "the disk was full {refusals} times only");
    drop(filler);
    assert_eq!(server.versions().await, ["3.0.0", "2.0.0", "1.0.0"]);
    let path = "/api/device-models/1/firmware-versions/3.0.0/artifacts/firmware.bin";
    assert_eq!(server.get(path).await.expect(200).body, image("3.0.0", 256 << 10));
    server.upload(large("3.0.0")).await.expect(200);
}

/// Temporary and staged files.
fn leftovers(data_dir: &Path) -> Vec<String> {
    let mut files = files_below(data_dir);
    files.retain(|file| {
        file.starts_with("tmp/") || file.starts_with("artifacts/staging/") || file.contains(".part")
    });
    files
}
