//! Storage and transaction invariants (contract §9): faults at every store call and commit,
//! races, restarts. `TestServer::finish` checks the rows and files at the end.

use std::sync::Arc;
use std::time::Duration;

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::firmware::{BundleBuilder, ZipEntry, bundle, image};
use coredock_testkit::gate::Gate;
use futures::StreamExt;
use futures::future::{join, join_all};
use reqwest::Method;

use crate::support::failing_commits::{CommitFault, FailingCommits};
use crate::support::{TestServer, raw, wait_until};

/// A bundle of `demo`; another `mark` changes all its artifacts except `version.json`.
fn marked(version: &str, mark: &str) -> Vec<u8> {
    let elf = format!("\u{7f}ELF of {mark}").into_bytes();
    let image = coredock_testkit::firmware::ImageBuilder::new(version, 4096).of_elf(&elf).build();
    BundleBuilder::new("demo", version).bin(image).elf(elf).map(mark).sdkconfig(mark).build()
}

/// A server with two versions of `demo`, and the path of the older one.
async fn with_an_old_version() -> (TestServer, String) {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.upload_demo("2.0.0").await.expect(200);
    let path = format!("/api/device-models/{}/firmware-versions/1.0.0", demo.model_id);
    (server, path)
}

/// The marks in two downloaded artifacts of a version.
async fn served_marks(server: &TestServer, model_id: i64, version: &str) -> Vec<String> {
    let base = format!("/api/device-models/{model_id}/firmware-versions/{version}/artifacts");
    let mut marks = Vec::new();
    for artifact in ["firmware.map", "sdkconfig"] {
        let answer = server.get(&format!("{base}/{artifact}")).await.expect(200);
        marks.push(String::from_utf8(answer.body.to_vec()).unwrap());
    }
    marks
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_i3_an_upload_that_fails_at_any_store_call_leaves_nothing_visible() {
    for operation in [Operation::Put, Operation::Open] {
        for nth in 1.. {
            let server = TestServer::start().await;
            let demo = server.demo().await;
            server.store.inject(FaultRule::new(Fault::Fail).on(operation).nth(nth));
            let answer = server.upload_demo("1.2.3").await;
            if answer.status == 200 {
                server.finish().await;
                assert!(nth > 1, "{operation:?} was never called");
                break;
            }
            answer.expect_error(503, "SERVICE_UNAVAILABLE");
            assert!(server.versions(demo.model_id).await.is_empty());
            assert!(server.current_version().await.is_null());
            assert_eq!(server.rows().count("audit_records", "action = 'firmware.uploaded'"), 0);
            server.store.clear_faults();
            server.upload_demo("1.2.3").await.expect(200);
            server.finish().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_i3_a_replacement_that_fails_at_any_store_call_is_wholly_old_or_wholly_new() {
    let server = TestServer::with(&[("MAX_FIRMWARES", "100")]).await;
    let demo = server.demo().await;
    for (operation, name) in
        [(Operation::Put, "put"), (Operation::Copy, "copy"), (Operation::Open, "open")]
    {
        for (fault, kind) in [(Fault::Fail, "fail"), (Fault::FailAfter, "fail-after")] {
            for nth in 1.. {
                let version = format!("{name}-{kind}-{nth}");
                let fault = FaultRule::new(fault.clone()).on(operation).nth(nth);
                if !replace_with_fault(&server, demo.model_id, &version, fault).await {
                    assert!(nth > 3, "{operation:?} is hardly called");
                    break;
                }
            }
        }
    }
    server.finish().await;
}

/// Publishes a set, replaces it under a fault and checks the downloads; returns whether the fault
/// met the replacement.
async fn replace_with_fault(
    server: &TestServer,
    model_id: i64,
    version: &str,
    fault: FaultRule,
) -> bool {
    server.upload("demo", marked(version, &format!("old {version}"))).await.expect(200);
    let before = server.store.faulty_calls();
    server.store.inject(fault);
    let new = format!("new {version}");
    let answer = server.upload("demo", marked(version, &new)).await;
    server.store.clear_faults();
    let met = server.store.faulty_calls() > before;
    let mark = if answer.status == 200 { new } else { format!("old {version}") };
    let expected = [mark.clone(), mark];
    assert_eq!(served_marks(server, model_id, version).await, expected, "{}", answer.status);
    let rows = server.rows();
    let settled = || rows.count("firmware_versions", "staging_upload_id IS NOT NULL") == 0;
    wait_until("the set is in place", settled).await;
    assert_eq!(served_marks(server, model_id, version).await, expected);
    met
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i3_a_commit_that_fails_is_a_503_and_repeating_is_safe() {
    for fault in [CommitFault::Before, CommitFault::After] {
        let commits = Arc::new(FailingCommits::default());
        let server = TestServer::wrapped(|adapters| commits.wrap(adapters)).await;
        let demo = server.demo().await;
        commits.fail_next(fault);
        server.upload_demo("1.2.3").await.expect_error(503, "SERVICE_UNAVAILABLE");
        match fault {
            CommitFault::Before => assert!(server.versions(demo.model_id).await.is_empty()),
            CommitFault::After => assert_eq!(server.versions(demo.model_id).await, ["1.2.3"]),
        }
        server.upload_demo("1.2.3").await.expect(200);
        assert_eq!(server.versions(demo.model_id).await, ["1.2.3"]);
        server.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_error_inside_the_transaction_rolls_everything_back() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.rows().break_audit();
    server.upload_demo("2.0.0").await.expect_error(503, "SERVICE_UNAVAILABLE");
    let model = format!("/api/device-models/{}", demo.model_id);
    let renamed = server.put(&model, r#"{"name":"other"}"#).await;
    renamed.expect_error(503, "SERVICE_UNAVAILABLE");
    let device = format!("/api/devices/{}", demo.device.id);
    server.delete(&device).await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.rows().restore_audit();
    assert_eq!(server.versions(demo.model_id).await, ["1.0.0"]);
    assert_eq!(server.get(&model).await.expect(200).json()["name"], "demo");
    server.get(&device).await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_an_answered_upload_survives_an_abrupt_end() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let server = server.restart().await;
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    assert_eq!(server.get(&path).await.expect(200).body, image("1.2.3", 4096));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_deletes_are_durable_and_retried_until_the_store_works() {
    let (server, old) = with_an_old_version().await;
    server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Delete));
    server.delete(&old).await.expect(204);
    let rows = server.rows();
    // The lease of a claim that ends with the process lasts a minute, longer than this test waits.
    wait_until("a delete was given back", || rows.count("outbox", "attempts > 0") > 0).await;
    assert_eq!(rows.count("outbox", "1=1"), 5);
    let server = server.restart().await;
    server.wait_for_empty_outbox().await;
    assert!(!server.stored_keys().iter().any(|key| key.contains("/1.0.0/")));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_delete_under_way_when_the_server_stops_is_finished() {
    let (server, old) = with_an_old_version().await;
    let gate = Gate::new();
    let hold = FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Delete);
    server.store.inject(hold.nth(1));
    server.delete(&old).await.expect(204);
    gate.arrived().await;
    let (rows, _place) = (server.rows(), server.place());
    assert_eq!(rows.count("outbox", "lease_owner IS NOT NULL"), 5);
    let address = server.running().address();
    let open_late = async {
        wait_until("the server does not listen any more", || {
            std::net::TcpStream::connect(address).is_err()
        })
        .await;
        gate.open();
    };
    join(server.finish_broken(), open_late).await;
    assert_eq!(rows.count("outbox", "1=1"), 0, "no lease is left to run out");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_missing_object_counts_as_deleted() {
    let (server, old) = with_an_old_version().await;
    std::fs::remove_file(server.artifact_dir().join("firmware/demo/1.0.0/sdkconfig")).unwrap();
    server.delete(&old).await.expect(204);
    server.wait_for_empty_outbox().await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_publishing_again_cancels_a_queued_delete() {
    let (server, old) = with_an_old_version().await;
    server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Delete));
    server.delete(&old).await.expect(204);
    let rows = server.rows();
    wait_until("the delete was given back", || rows.count("outbox", "attempts > 0") == 5).await;
    server.upload_demo("1.0.0").await.expect(200);
    assert_eq!(server.rows().count("outbox", "1=1"), 0);
    server.store.clear_faults();
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_publishing_waits_for_a_delete_that_has_begun() {
    let (server, old) = with_an_old_version().await;
    let gate = Gate::new();
    let hold = FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Delete).nth(1);
    server.store.inject(hold);
    server.delete(&old).await.expect(204);
    gate.arrived().await;
    server.store.clear_calls();
    let upload = server.upload_demo("1.0.0");
    let release = async {
        let rows = server.rows();
        wait_until("the upload waits", || rows.count("leases", "1=1") == 0).await;
        assert_eq!(server.store.count(Operation::Put), 0, "nothing is written meanwhile");
        gate.open();
    };
    let (uploaded, ()) = tokio::join!(upload, release);
    uploaded.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_delete_without_an_answer_keeps_its_objects() {
    let (server, old) = with_an_old_version().await;
    server.store.inject(FaultRule::new(Fault::FailAfter).on(Operation::Delete));
    server.delete(&old).await.expect(204);
    let rows = server.rows();
    wait_until("the delete was tried", || rows.count("outbox", "attempts = 1") == 5).await;
    assert_eq!(rows.count("outbox", "lease_until > queued_at"), 5, "it may still take effect");
    server.store.clear_faults();
    rows.execute("UPDATE outbox SET lease_until = queued_at");
    server.wait_for_empty_outbox().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_nothing_is_deleted_before_the_commit_or_after_a_rollback() {
    let server = TestServer::start().await;
    server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.upload_demo("2.0.0").await.expect(200);
    server.rows().break_audit();
    server.store.clear_calls();
    server.upload_demo("3.0.0").await.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.rows().count("outbox", "1=1"), 0);
    assert_eq!(server.store.count(Operation::Delete), 0);
    server.rows().restore_audit();
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_simultaneous_uploads_of_one_version_all_succeed() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let uploads = (0..12).map(|n| server.upload("demo", marked("1.2.3", &n.to_string())));
    for answer in join_all(uploads).await {
        answer.expect(200);
    }
    assert_eq!(server.versions(demo.model_id).await, ["1.2.3"]);
    let marks = served_marks(&server, demo.model_id, "1.2.3").await;
    assert_eq!(marks[0], marks[1], "one set, not a mixture");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_simultaneous_uploads_of_different_versions_all_succeed() {
    let server = TestServer::with(&[("MAX_FIRMWARES", "20")]).await;
    let demo = server.demo().await;
    let versions: Vec<String> = (0..12).map(|n| format!("1.0.{n}")).collect();
    let uploads = versions.iter().map(|version| server.upload_demo(version));
    for answer in join_all(uploads).await {
        answer.expect(200);
    }
    assert_eq!(server.versions(demo.model_id).await.len(), 12);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_uploads_deletes_and_activations_of_the_same_versions_never_give_500() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    let work = (0..60).map(|n| {
        let (server, versions) = (&server, &versions);
        async move {
            let version = format!("1.0.{}", n % 4);
            let (answer, allowed): (_, &[u16]) = match n % 3 {
                0 => (server.upload("demo", marked(&version, &n.to_string())).await, &[200]),
                1 => (server.delete(&format!("{versions}/{version}")).await, &[204, 404, 409]),
                _ => {
                    let path = format!("{versions}/{version}/activate");
                    (server.post(&path, "").await, &[200, 404])
                }
            };
            assert!(allowed.contains(&answer.status), "{n}: {answer:?}");
        }
    });
    futures::stream::iter(work).buffer_unordered(8).collect::<Vec<()>>().await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_is_atomic_for_readers() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let bundles = [marked("1.2.3", "a"), marked("1.2.3", "b")];
    server.upload("demo", bundles[0].clone()).await.expect(200);
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    let write = async {
        for n in 0..10 {
            server.upload("demo", bundles[(n + 1) % 2].clone()).await.expect(200);
        }
    };
    let read = async {
        for _ in 0..60 {
            let answer = server.get(&path).await.expect(200);
            let sha256 = coredock_domain::digest::Sha256Digest::of(&answer.body).to_string();
            assert_eq!(answer.header("x-firmware-sha256"), sha256, "bytes of the row");
            assert_eq!(answer.header("etag"), format!("\"{sha256}\""));
            let artifact = format!(
                "/api/device-models/{}/firmware-versions/1.2.3/artifacts/firmware.map",
                demo.model_id
            );
            let map = server.get(&artifact).await.expect(200);
            let sha256 = coredock_domain::digest::Sha256Digest::of(&map.body).to_string();
            assert_eq!(map.header("etag"), format!("\"{sha256}\""));
        }
    };
    tokio::join!(write, read);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_stalled_upload_and_a_stalled_download_hold_no_connection() {
    let settings = [("DB_POOL_SIZE", "1"), ("DB_POOL_MAX_OVERFLOW", "0"), ("DB_POOL_TIMEOUT", "1")];
    let server = TestServer::with(&settings).await;
    let demo = server.demo().await;
    let large = BundleBuilder::new("demo", "1.0.0").bin(image("1.0.0", 24 << 20));
    let large = large.change_all(ZipEntry::stored).build();
    server.upload("demo", large.clone()).await.expect(200);
    let key = &demo.device.key;
    let stalled_download =
        format!("GET /api/iot/firmware?device_key={key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut download = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut download, stalled_download.as_bytes()).await.unwrap();
    let head = raw::read_head(&mut download).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut upload = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let head = format!(
        "POST /api/pipeline/models/demo/firmware HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut upload, head.as_bytes()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut upload, &large[..100_000]).await.unwrap();
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).nth(1));
    let publishing = server.upload_demo("2.0.0");
    let meanwhile = async {
        gate.arrived().await;
        let path = format!("/api/iot/firmware-version?device_key={key}");
        let answers = join_all((0..20).map(|_| server.get(&path))).await;
        for answer in answers {
            answer.expect(200);
        }
        server.create_device(demo.model_id, "{}").await;
        let mut fastest = Duration::MAX;
        for _ in 0..20 {
            let asked = std::time::Instant::now();
            server.get(&path).await.expect(200);
            fastest = fastest.min(asked.elapsed());
        }
        assert!(fastest < Duration::from_millis(50), "{fastest:?}: something waits");
        gate.open();
    };
    let (published, ()) = tokio::join!(publishing, meanwhile);
    published.expect(200);
    drop((download, upload));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i13_listings_cost_the_same_statements_whatever_they_list() {
    let server = TestServer::with(&[("MAX_FIRMWARES", "100")]).await;
    let demo = server.demo().await;
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    let paths = ["/api/devices", "/api/device-models", "/api/rom-elfs", &versions];
    server.upload_demo("1.0.0").await.expect(200);
    let mut few = Vec::new();
    for path in paths {
        few.push(statements(&server, path).await);
    }
    for n in 0..30 {
        server.create_device(demo.model_id, "{}").await;
        server.create_model(&format!("m{n}")).await;
        server.upload_rom(&n.to_string()).await;
        server.upload_demo(&format!("2.0.{n}")).await.expect(200);
    }
    for (path, few) in paths.into_iter().zip(few) {
        assert_eq!(statements(&server, path).await, few, "{path}");
        assert!(few <= 3, "{path} costs {few} statements");
    }
    server.finish().await;
}

/// The statements of one listing. The workers poll too, so the minimum of several tries counts.
async fn statements(server: &TestServer, path: &str) -> u64 {
    let mut minimum = u64::MAX;
    for _ in 0..20 {
        let before = server.adapters.database.statement_count();
        server.get(path).await.expect(200);
        minimum = minimum.min(server.adapters.database.statement_count() - before);
    }
    minimum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visible_row_without_its_object_is_a_404_and_a_counted_violation() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    std::fs::remove_file(server.artifact_dir().join("firmware/demo/1.2.3/firmware.bin")).unwrap();
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    let missing = r#"kind="object_missing""#;
    let violations = server.metric_where("coredock_invariant_violations_total", missing).await;
    assert_eq!(violations, 1);
    server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visible_row_with_another_object_is_never_served() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    for wrong in [image("6.6.6", 4096), image("1.2.3", 4095)] {
        let file = server.artifact_dir().join("firmware/demo/1.2.3/firmware.bin");
        std::fs::write(&file, wrong).unwrap();
        server.get(&path).await.expect_error(503, "SERVICE_UNAVAILABLE");
    }
    let differs = r#"kind="object_differs""#;
    let violations = server.metric_where("coredock_invariant_violations_total", differs).await;
    assert_eq!(violations, 2);
    server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_leave_a_publication_half_way() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).nth(3));
    let request = server.request(Method::POST, "/api/pipeline/models/demo/firmware");
    let request = request.body(bundle("1.2.3")).timeout(Duration::from_millis(500));
    assert!(request.send().await.is_err(), "the caller gave up");
    gate.open();
    let rows = server.rows();
    wait_until("the version is visible", || rows.count("firmware_versions", "1=1") == 1).await;
    wait_until("the lease is given back", || rows.count("leases", "1=1") == 0).await;
    assert_eq!(server.versions(demo.model_id).await, ["1.2.3"]);
    server.finish().await;
}
