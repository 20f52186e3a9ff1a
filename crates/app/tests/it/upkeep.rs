//! The sweep of a running server (I6) and the retention of symbols (contract §5.10).

use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::upkeep::sweep::{SweepMode, SweepVerdict};
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder};
use coredock_testkit::gate::Gate;

use crate::support::TestServer;
use crate::support::rom_verbs::{RISC_V, rom_elf};

const OLD: Duration = Duration::from_hours(48);

/// Three versions of different builds, so that one garbage object is less than a tenth of the
/// store.
async fn well_filled() -> TestServer {
    let server = TestServer::with(&[("MAX_FIRMWARES", "9"), ("SYMBOLS_KEEP_DAYS", "0")]).await;
    server.demo().await;
    for n in 0..3 {
        server.upload("demo", of_build(n)).await.expect(200);
    }
    server
}

fn of_build(n: u32) -> Vec<u8> {
    let elf = format!("\u{7f}ELF{n}").into_bytes();
    let version = format!("1.0.{n}");
    let image = ImageBuilder::new(&version, 4096).of_elf(&elf).build();
    BundleBuilder::new("demo", &version).bin(image).elf(elf).build()
}

/// Delivers a dump of this version from the first device.
async fn deliver_dump(server: &TestServer, version: &str) {
    let device = server.get("/api/devices/1").await.expect(200).json();
    server.deliver(device["key"].as_str().unwrap(), version, "dump").await;
}

async fn sweep(server: &TestServer, mode: SweepMode) -> SweepVerdict {
    server.running().features().upkeep.sweep(mode).await.unwrap().verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn old_garbage_is_removed_and_everything_else_stays() {
    let server = well_filled().await;
    let garbage = "firmware/demo/9.9.9/firmware.bin";
    server.place_object(garbage, OLD);
    let unchanged = [
        ("staging/00ff/firmware.bin", Duration::ZERO),
        ("firmware/demo/1.0.0/notes.txt", OLD),
        ("rom/unknown.elf", OLD),
    ];
    for (key, age) in unchanged {
        server.place_object(key, age);
    }
    let foreign = server.place_object("backup/precious", OLD);
    assert_eq!(sweep(&server, SweepMode::DryRun).await, SweepVerdict::DryRun);
    assert!(server.stored_keys().contains(&garbage.to_owned()));
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.wait_for_empty_outbox().await;
    let keys = server.stored_keys();
    assert!(!keys.contains(&garbage.to_owned()), "{keys:?}");
    for (key, _) in unchanged {
        assert!(keys.contains(&key.to_owned()), "{key} in {keys:?}");
    }
    assert!(foreign.exists());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rom_elfs_without_a_row_are_removed_and_others_stay() {
    let server = well_filled().await;
    let rom = server.upload_rom("used").await;
    let used = format!("rom/{}.elf", rom["sha256"].as_str().unwrap());
    let old = std::time::SystemTime::now() - OLD;
    let file = std::fs::File::options().write(true).open(server.artifact_dir().join(&used));
    file.unwrap().set_modified(old).unwrap();
    let of = |seed: &[u8]| format!("rom/{}.elf", Sha256Digest::of(seed));
    let (garbage, young) = (of(b"unused"), of(b"under way"));
    server.place_object(&garbage, OLD);
    server.place_object(&young, Duration::ZERO);
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.wait_for_empty_outbox().await;
    let keys = server.stored_keys();
    assert!(!keys.contains(&garbage), "{keys:?}");
    assert!(keys.contains(&used) && keys.contains(&young), "{keys:?}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rom_elf_being_uploaded_over_old_garbage_is_not_swept() {
    let server = well_filled().await;
    let elf = rom_elf(RISC_V, "again");
    server.place_object(&format!("rom/{}.elf", Sha256Digest::of(&elf)), OLD);
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).key("rom/"));
    let meanwhile = async {
        gate.arrived().await;
        let report = server.running().features().upkeep.sweep(SweepMode::DryRun).await.unwrap();
        assert_eq!(report.garbage_objects(), 0, "{report:?}");
        gate.open();
    };
    tokio::join!(server.upload_rom("again"), meanwhile);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_garbage_waits_for_a_confirmation() {
    let server = well_filled().await;
    for n in 0..5 {
        server.place_object(&format!("coredumps/abcd2345/{n}.dmp"), OLD);
    }
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::TooMuch);
    server.wait_for_empty_outbox().await;
    assert!(server.stored_keys().iter().any(|key| key.starts_with("coredumps/")));
    assert_eq!(sweep(&server, SweepMode::Confirmed).await, SweepVerdict::Removed);
    server.wait_for_empty_outbox().await;
    assert!(!server.stored_keys().iter().any(|key| key.starts_with("coredumps/")));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_installation_is_never_swept() {
    let server = well_filled().await;
    let garbage = "firmware/demo/9.9.9/firmware.bin".to_owned();
    server.place_object(&garbage, OLD);
    let mark = server.artifact_dir().join("coredock/owner");
    std::fs::write(&mark, "somebody else\n7\n").unwrap();
    let owner = Some("somebody else".to_owned());
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Foreign { owner });
    std::fs::remove_file(&mark).unwrap();
    let foreign = SweepVerdict::Foreign { owner: None };
    assert_eq!(sweep(&server, SweepMode::Run).await, foreign);
    assert_eq!(sweep(&server, SweepMode::Confirmed).await, SweepVerdict::Adopted);
    assert_eq!(sweep(&server, SweepMode::Confirmed).await, SweepVerdict::FirstRun);
    assert!(server.stored_keys().contains(&garbage));
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.wait_for_empty_outbox().await;
    assert!(!server.stored_keys().contains(&garbage));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_only_reports_applies_no_retention_either() {
    let server = well_filled().await;
    deliver_dump(&server, "1.0.0").await;
    server.rows().execute("UPDATE settings SET value = '9' WHERE key = 'sweep_epoch'");
    let before = server.stored_keys();
    let symbols = "UPDATE known_builds SET last_referenced_at = '2020-01-01T00:00:00.000000Z'";
    server.delete("/api/device-models/1/firmware-versions/1.0.1").await.expect(204);
    server.wait_for_empty_outbox().await;
    server.rows().execute(symbols);
    assert_eq!(sweep(&server, SweepMode::Confirmed).await, SweepVerdict::FirstRun);
    server.wait_for_empty_outbox().await;
    let removed = before.len() - server.stored_keys().len();
    assert_eq!(removed, 5, "the deleted version, and no symbols");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_name_is_not_utf8_does_not_stop_the_sweep() {
    use std::os::unix::ffi::OsStrExt;
    let server = well_filled().await;
    server.place_object("firmware/demo/9.9.9/firmware.bin", OLD);
    let foreign = server.artifact_dir().join("firmware/demo");
    let foreign = foreign.join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(&foreign, "x").unwrap();
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.wait_for_empty_outbox().await;
    assert!(foreign.exists());
    assert!(!server.artifact_dir().join("firmware/demo/9.9.9/firmware.bin").exists());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restored_database_the_first_sweep_only_reports() {
    let server = well_filled().await;
    let garbage = "firmware/demo/9.9.9/firmware.bin".to_owned();
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.rows().execute("UPDATE settings SET value = '1' WHERE key = 'sweep_epoch'");
    server.place_object(&garbage, OLD);
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::FirstRun);
    assert!(server.stored_keys().contains(&garbage));
    assert_eq!(sweep(&server, SweepMode::Run).await, SweepVerdict::Removed);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_an_upload_under_way_are_not_swept() {
    let server = well_filled().await;
    for name in ["firmware.elf", "firmware.map"] {
        server.place_object(&format!("firmware/demo/1.0.3/{name}"), OLD);
    }
    let gate = Gate::new();
    let hold =
        FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).key("1.0.3/firmware.elf");
    server.store.inject(hold);
    let upload = server.upload("demo", of_build(3));
    let meanwhile = async {
        gate.arrived().await;
        let report = server.running().features().upkeep.sweep(SweepMode::Confirmed).await.unwrap();
        assert_eq!(report.garbage_objects(), 0, "{report:?}");
        gate.open();
    };
    let (uploaded, ()) = tokio::join!(upload, meanwhile);
    uploaded.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_outlive_their_last_version_while_a_dump_may_need_them() {
    let server = well_filled().await;
    let build = coredock_domain::digest::Sha256Digest::of(b"\x7fELF0").to_string();
    let symbols = format!("symbols/{build}/firmware.elf");
    deliver_dump(&server, "other").await;
    server.rows().execute(&format!("UPDATE coredumps SET build_id = '{}'", &build[..9]));
    server.delete("/api/device-models/1/firmware-versions/1.0.0").await.expect(204);
    sweep(&server, SweepMode::Confirmed).await;
    server.wait_for_empty_outbox().await;
    assert!(server.stored_keys().contains(&symbols));
    server.rows().execute("UPDATE coredumps SET parse_status = 'PARSED'");
    sweep(&server, SweepMode::Confirmed).await;
    server.wait_for_empty_outbox().await;
    assert!(!server.stored_keys().contains(&symbols));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_are_kept_for_their_days() {
    let server = TestServer::with(&[("SYMBOLS_KEEP_DAYS", "180")]).await;
    server.demo().await;
    server.upload("demo", of_build(0)).await.expect(200);
    server.upload("demo", of_build(1)).await.expect(200);
    server.delete("/api/device-models/1/firmware-versions/1.0.0").await.expect(204);
    sweep(&server, SweepMode::Confirmed).await;
    server.wait_for_empty_outbox().await;
    let symbols = server.stored_keys().into_iter().filter(|key| key.starts_with("symbols/"));
    assert_eq!(symbols.count(), 2);
    server.finish().await;
}
