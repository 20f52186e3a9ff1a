//! Dumps under faults: no acknowledged dump is lost, and no incomplete dump is visible (I1–I3),
//! V29.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coredock_domain::timestamp::Timestamp;
use coredock_testkit::clock::SettableClock;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use tokio::io::AsyncWriteExt;

use crate::support::failing_commits::CommitFault;
use crate::support::failing_records::FailingRecords;
use crate::support::{TestServer, wait_until};

async fn without_rescue() -> TestServer {
    TestServer::with(&[("RESCUE_SPOOL_BYTES", "0"), ("SYMBOLIZER", "off")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v29_without_a_spool_a_dump_is_a_503_while_the_store_is_down() {
    let server = without_rescue().await;
    let demo = server.demo().await;
    server.store.set_down(true);
    let refused = server.post_dump(&demo.device.key, "1", "dump").await;
    assert!(!refused.header("retry-after").is_empty());
    refused.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", "unavailable").await, 1);
    server.store.set_down(false);
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [id]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_fails_leaves_nothing_visible_even_if_it_took_effect() {
    let server = without_rescue().await;
    let demo = server.demo().await;
    let before = server.deliver(&demo.device.key, "1", "before").await;
    for fault in [Fault::Fail, Fault::FailAfter] {
        server.store.inject(FaultRule::new(fault).on(Operation::Put));
        let refused = server.post_dump(&demo.device.key, "1", "dump").await;
        refused.expect_error(503, "SERVICE_UNAVAILABLE");
        assert_eq!(server.dump_ids(demo.device.id).await, [before]);
        server.store.clear_faults();
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_is_an_outage_and_can_be_repeated() {
    let records = Arc::new(FailingRecords::default());
    let settings = [("RESCUE_SPOOL_BYTES", "0")];
    let server = TestServer::wrapped_with(&settings, |adapters| records.wrap(adapters)).await;
    let demo = server.demo().await;
    records.fail_next(CommitFault::Before);
    let failed = server.post_dump(&demo.device.key, "1", "dump").await;
    failed.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    records.fail_next(CommitFault::After);
    let unknown = server.post_dump(&demo.device.key, "1", "other").await;
    unknown.expect_error(503, "SERVICE_UNAVAILABLE");
    let repeated = server.deliver(&demo.device.key, "1", "other").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [repeated, id]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_an_outage() {
    let server = without_rescue().await;
    let demo = server.demo().await;
    server.rows().execute("ALTER TABLE coredumps RENAME TO gone");
    let failed = server.post_dump(&demo.device.key, "1", "dump").await;
    failed.expect_error(503, "SERVICE_UNAVAILABLE");
    server.rows().execute("ALTER TABLE gone RENAME TO coredumps");
    server.deliver(&demo.device.key, "1", "dump").await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_device_meanwhile_deletes_its_new_dump() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put));
    let post = server.post_dump(&demo.device.key, "1", "dump");
    let meanwhile = async {
        wait_until("the dump is being stored", || server.store.count(Operation::Put) > 0).await;
        server.delete(&format!("/api/devices/{}", demo.device.id)).await.expect(204);
        gate.open();
    };
    let (posted, ()) = tokio::join!(post, meanwhile);
    posted.expect_error(404, "RECORD_NOT_FOUND");
    server.wait_for_empty_outbox().await;
    assert_eq!(server.stored_keys(), [""; 0]);
    server.finish().await;
}

/// The device erases its dump whatever the answer is, so the dump is stored even if it hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_stored_when_its_device_hangs_up_after_the_last_byte() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put));
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = format!(
        "POST /api/iot/coredump?device_key={}&chip=esp32&firmware_version=1 HTTP/1.1\r\n\
         Host: localhost\r\nContent-Length: 4\r\n\r\ndump",
        demo.device.key
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_until("the dump is being stored", || server.store.count(Operation::Put) > 0).await;
    drop(stream);
    gate.open();
    let rows = server.rows();
    wait_until("the dump is recorded", || rows.count("coredumps", "1=1") == 1).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_dump_is_not_stored() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = format!(
        "POST /api/iot/coredump?device_key={}&chip=esp32&firmware_version=1 HTTP/1.1\r\n\
         Host: localhost\r\nContent-Length: 4000\r\n\r\nhalf",
        demo.device.key
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let whole = server.deliver(&demo.device.key, "1", "whole").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [whole]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_answered_within_ten_seconds_when_the_store_hangs() {
    let server = without_rescue().await;
    let demo = server.demo().await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put));
    let began = Instant::now();
    let answer = server.post_dump(&demo.device.key, "1", "dump").await;
    assert!(began.elapsed() < Duration::from_secs(10));
    answer.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", "unavailable").await, 1);
    gate.open();
    server.store.clear_faults();
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [id]);
    server.finish().await;
}

/// A dump that was just acknowledged must not count as the oldest.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_back_evicts_no_new_dump() {
    let clock = Arc::new(SettableClock::at(Timestamp::parse("2026-11-20T12:00:00Z").unwrap()));
    let wrapped = clock.clone();
    let wrap = |adapters| coredock::adapters::Adapters { clock: wrapped, ..adapters };
    let settings = [("MAX_COREDUMPS", "2"), ("SYMBOLIZER", "off")];
    let server = TestServer::wrapped_with(&settings, wrap).await;
    let demo = server.demo().await;
    server.deliver(&demo.device.key, "1", "one").await;
    let two = server.deliver(&demo.device.key, "1", "two").await;
    clock.set(Timestamp::parse("2026-11-19T12:00:00Z").unwrap());
    let three = server.deliver(&demo.device.key, "1", "three").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [three, two]);
    let report = server.report(demo.device.id, three).await;
    let due = report["next_attempt_at"].as_str().unwrap();
    assert!(due.starts_with("2026-11-19"), "due now, not when the clock has caught up: {due}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_repeats_ends() {
    let clock = Arc::new(SettableClock::default());
    let wrapped = clock.clone();
    let wrap = |adapters| coredock::adapters::Adapters { clock: wrapped, ..adapters };
    let server = TestServer::wrapped_with(&[("COREDUMP_DEDUPE_SECONDS", "60")], wrap).await;
    let demo = server.demo().await;
    let first = server.deliver(&demo.device.key, "1", "dump").await;
    clock.advance(Duration::from_secs(59));
    assert_eq!(server.deliver(&demo.device.key, "1", "dump").await, first);
    clock.advance(Duration::from_secs(2));
    let second = server.deliver(&demo.device.key, "1", "dump").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [second, first]);
    server.finish().await;
}
