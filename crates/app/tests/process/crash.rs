//! The data after a `kill -9` (contract §9, I2 and I14).

use std::time::Duration;

use coredock_testkit::firmware::{bundle, image};

use super::support::files::{OLD, files_below, fresh_data_dir, place};
use super::support::server::Server;
use super::support::{raw, wait_until};

#[tokio::test]
async fn an_answered_upload_survives_a_kill_right_after_the_answer() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    let device = server.create_device("{}").await;
    server.upload(bundle("1.0.1")).await.expect(200);
    server.kill();
    let server = Server::start(&data_dir, &[]);
    assert_eq!(server.versions().await, ["1.0.1", "1.0.0"]);
    let path = format!("/api/iot/firmware?device_key={device}");
    assert_eq!(server.get(&path).await.expect(200).body, image("1.0.1", 4096));
    for artifact in ["firmware.elf", "firmware.map", "sdkconfig", "version.json"] {
        let path = format!("/api/device-models/1/firmware-versions/1.0.1/artifacts/{artifact}");
        server.get(&path).await.expect(200);
    }
    server.stop();
}

#[tokio::test]
async fn an_upload_cut_by_a_kill_leaves_nothing_and_can_be_repeated() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    let objects = files_below(&data_dir.join("artifacts"));
    let second = bundle("1.0.1");
    let upload = raw::begin_upload(server.address(), &second, second.len() - 1);
    let spool = data_dir.join("tmp");
    server.wait_for_upload().await;
    let is_spool = |name: &String| name.starts_with(spool.to_str().unwrap());
    wait_until("the upload is spooled", || server.process().open_files().iter().any(is_spool));
    assert_eq!(files_below(&spool), [""; 0], "a spool file has no name");
    server.kill();
    drop(upload);
    assert_eq!(files_below(&spool), [""; 0]);
    let server = Server::start(&data_dir, &[]);
    assert_eq!(server.versions().await, ["1.0.0"]);
    assert_eq!(files_below(&data_dir.join("artifacts")), objects);
    server.upload(second).await.expect(200);
    assert_eq!(server.versions().await, ["1.0.1", "1.0.0"]);
    server.stop();
}

#[tokio::test]
async fn kills_at_any_moment_of_an_upload_leave_it_done_or_undone() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    server.stop();
    for moment in 0..8 {
        let server = Server::start(&data_dir, &[]);
        let version = format!("2.0.{moment}");
        let before = server.versions().await;
        let whole = bundle(&version);
        let upload = raw::begin_upload(server.address(), &whole, whole.len());
        // The test is about the moment of the kill.
        std::thread::sleep(Duration::from_millis(moment * 3));
        server.kill();
        let answered = String::from_utf8_lossy(&raw::read_rest(upload)).starts_with("HTTP/1.1 200");
        let server = Server::start(&data_dir, &[]);
        let after = server.versions().await;
        let is_done = after.contains(&version);
        assert!(is_done || (!answered && after == before), "{before:?} to {after:?}");
        if is_done {
            let path = format!("/api/device-models/1/firmware-versions/{version}/artifacts/");
            let download = server.get(&format!("{path}firmware.bin")).await.expect(200);
            assert_eq!(download.body, image(&version, 4096));
        }
        server.stop();
    }
}

#[tokio::test]
async fn files_of_interrupted_writes_are_removed_at_start_when_they_are_old() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    server.stop();
    let artifacts = data_dir.join("artifacts");
    let old = [
        "firmware/demo/1.0.0/firmware.bin.a1B2c3D4e5.part",
        "coredumps/abcd2345/1.dmp.0000000000.part",
        // Files of earlier versions.
        "firmware/demo/1.0.0/firmware.bin#1",
        "firmware/demo/9.9.9/firmware.map#12",
        "staging/00ff/firmware.elf#1",
        "coredock/owner#1",
    ];
    for name in old {
        place(&artifacts.join(name), OLD);
    }
    let foreign = ["firmware/demo/1.0.0/notes.txt#1", "firmware/demo/1.0.0/firmware.bin#1a", "x#1"];
    for name in foreign {
        place(&artifacts.join(name), OLD);
    }
    let young =
        ["firmware/demo/1.0.0/firmware.bin#2", "firmware/demo/1.0.0/firmware.bin.0123456789.part"];
    for name in young {
        place(&artifacts.join(name), Duration::from_mins(30));
    }
    let server = Server::start(&data_dir, &[]);
    wait_until("old leftovers are removed", || {
        old.iter().all(|name| !artifacts.join(name).exists())
    });
    server.stop();
    let left = files_below(&artifacts);
    for expected in foreign.into_iter().chain(young).chain(["firmware/demo/1.0.0/firmware.bin"]) {
        assert!(left.iter().any(|name| name == expected), "{expected} is not in {left:?}");
    }
}
