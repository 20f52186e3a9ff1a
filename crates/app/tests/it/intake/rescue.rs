//! Dumps outlive outages of store and database (contract §4.5, I3), V29.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coredock_domain::intake::replay::ReplayRound;
use coredock_testkit::clock::SettableClock;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;

use crate::support::failing_commits::CommitFault;
use crate::support::failing_records::FailingRecords;
use crate::support::{PATIENCE, TestDevice, TestServer, wait_until};

const INGEST: &str = "coredock_coredump_ingest_total";

/// Delivers a dump during an outage.
async fn post_during_outage(server: &TestServer, key: &str, body: &str) {
    let refused = server.post_dump(key, "1", body.to_owned()).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.expect_error(503, "SERVICE_UNAVAILABLE");
}

/// Waits until the spool is empty; returns the dumps of the device as `body occurrences`, oldest
/// first.
async fn after_recovery(server: &TestServer, device: &TestDevice) -> Vec<String> {
    server.wait_for_empty_rescue().await;
    let mut dumps = Vec::new();
    for dump in server.dump_ids(device.id).await.into_iter().rev() {
        let body = server.object(&format!("coredumps/{}/{dump}.dmp", device.key));
        let occurrences = &server.dump(device.id, dump).await["occurrences"];
        dumps.push(format!("{} {occurrences}", String::from_utf8(body).unwrap()));
    }
    dumps
}

/// Waits until the gauge shows `count` waiting dumps.
async fn wait_for_pending(server: &TestServer, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while server.metric("coredock_rescue_pending").await != count {
        assert!(Instant::now() < deadline, "never {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server whose database fails on demand.
async fn with_records() -> (TestServer, Arc<FailingRecords>) {
    let records = Arc::new(FailingRecords::default());
    let server = TestServer::wrapped(|adapters| records.wrap(adapters)).await;
    (server, records)
}

/// A server whose worker waits until the clock is moved.
async fn with_clock(settings: &[(&str, &str)]) -> (TestServer, Arc<SettableClock>) {
    let clock = Arc::new(SettableClock::default());
    let wrapped = clock.clone();
    let wrap = |adapters| coredock::adapters::Adapters { clock: wrapped, ..adapters };
    (TestServer::wrapped_with(settings, wrap).await, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn v29_a_dump_is_rescued_while_the_store_is_down_and_replayed_later() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.store.set_down(true);
    for body in ["one", "two", "three"] {
        post_during_outage(&server, &demo.device.key, body).await;
    }
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    assert_eq!(server.rescued().len(), 3);
    assert_eq!(server.metric_where(INGEST, "rescued").await, 3);
    assert_eq!(server.metric_where(INGEST, "unavailable").await, 0);
    let attempts = server.store.count(Operation::Put);
    let again = || server.store.count(Operation::Put) >= attempts + 3;
    wait_until("they were retried without success", again).await;
    wait_for_pending(&server, 3).await;
    server.store.set_down(false);
    let mut dumps = after_recovery(&server, &demo.device).await;
    dumps.sort();
    assert_eq!(dumps, ["one 1", "three 1", "two 1"]);
    wait_for_pending(&server, 0).await;
    let by_device =
        format!("action = 'coredump.created' AND actor_subject = '{}'", demo.device.key);
    assert_eq!(server.rows().count("audit_records", &by_device), 3);
    assert_eq!(server.metric_where(INGEST, "stored").await, 0);
    // The failed attempts reused their ids, so they left no objects.
    assert_eq!(server.stored_keys().len(), 3);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_rescued_while_the_database_is_down_and_replayed_later() {
    let (server, records) = with_records().await;
    let demo = server.demo().await;
    records.set_down(true);
    post_during_outage(&server, &demo.device.key, "dump").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    records.set_down(false);
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["dump 1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_commit_failed_is_replayed() {
    let (server, records) = with_records().await;
    let demo = server.demo().await;
    records.fail_next(CommitFault::Before);
    post_during_outage(&server, &demo.device.key, "dump").await;
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["dump 1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_counts_once() {
    let (server, records) = with_records().await;
    let demo = server.demo().await;
    records.fail_next(CommitFault::After);
    post_during_outage(&server, &demo.device.key, "dump").await;
    let of_demo = &demo.device;
    assert_eq!(after_recovery(&server, of_demo).await, ["dump 1"]);
    assert_eq!(server.stored_keys().len(), 1);
    // The same for a repeated dump, which is only counted.
    records.fail_next(CommitFault::After);
    post_during_outage(&server, &demo.device.key, "dump").await;
    assert_eq!(after_recovery(&server, of_demo).await, ["dump 2"]);
    // A dump that was deleted meanwhile is not recorded again.
    records.fail_next(CommitFault::After);
    post_during_outage(&server, &demo.device.key, "deleted").await;
    let id = server.dump_ids(demo.device.id).await[0];
    server.delete(&format!("/api/devices/{}/coredumps/{id}", demo.device.id)).await.expect(204);
    assert_eq!(after_recovery(&server, of_demo).await, ["dump 2"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_a_replay_are_one_dump_in_any_order() {
    let (server, clock) = with_clock(&[]).await;
    let demo = server.demo().await;
    let of_demo = &demo.device;
    server.store.set_down(true);
    post_during_outage(&server, &demo.device.key, "retry first").await;
    server.store.set_down(false);
    let id = server.deliver(&demo.device.key, "1", "retry first").await;
    // The worker of the outbox polls after a second as well.
    let polling = async {
        while !server.rescued().is_empty() {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap();
    assert_eq!(after_recovery(&server, of_demo).await, ["retry first 2"]);
    assert_eq!(server.dump_ids(demo.device.id).await, [id]);
    server.store.set_down(true);
    post_during_outage(&server, &demo.device.key, "rescue first").await;
    server.store.set_down(false);
    let round = server.running().features().intake.replay().await.unwrap();
    assert_eq!(round, ReplayRound { replayed: 1, waiting: 0 });
    server.deliver(&demo.device.key, "1", "rescue first").await;
    assert_eq!(after_recovery(&server, of_demo).await, ["retry first 2", "rescue first 2"]);
    clock.advance(Duration::from_secs(1));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rescued_dumps_survive_a_restart_and_are_replayed_in_order() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.store.set_down(true);
    for body in ["one", "two", "three"] {
        post_during_outage(&server, &demo.device.key, body).await;
    }
    let server = server.restart().await;
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["one 1", "two 1", "three 1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_does_not_fit_the_spool_is_a_503() {
    let server = TestServer::with(&[("RESCUE_SPOOL_BYTES", "1500"), ("SYMBOLIZER", "off")]).await;
    let demo = server.demo().await;
    let (fits, does_not) = ("x".repeat(1000), "y".repeat(1000));
    server.store.set_down(true);
    post_during_outage(&server, &demo.device.key, &fits).await;
    post_during_outage(&server, &demo.device.key, &does_not).await;
    assert_eq!(server.metric_where(INGEST, "rescued").await, 1);
    assert_eq!(server.metric_where(INGEST, "unavailable").await, 1);
    assert_eq!(server.rescued().len(), 1);
    server.store.set_down(false);
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, [format!("{fits} 1")]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_file_is_set_aside_and_delays_no_other() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.store.set_down(true);
    post_during_outage(&server, &demo.device.key, "dump").await;
    let whole = server.rescued().remove(0);
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(whole.with_file_name("0-torn.dump"), &bytes[..100]).unwrap();
    std::fs::write(whole.with_file_name("0-begun.part"), &bytes[..100]).unwrap();
    let server = server.restart().await;
    let torn = whole.with_file_name("0-torn.damaged");
    wait_until("only the torn file is left", || server.rescued() == [torn.clone()]).await;
    std::fs::remove_file(torn).unwrap();
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["dump 1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_cannot_be_replayed_delays_no_other() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_device(demo.model_id, "{}").await;
    server.store.set_down(true);
    post_during_outage(&server, &demo.device.key, "poison").await;
    post_during_outage(&server, &other.key, "dump").await;
    let poison = FaultRule::new(Fault::Fail).on(Operation::Put).key(&demo.device.key);
    server.store.inject(poison);
    server.store.set_down(false);
    let rows = server.rows();
    wait_until("the other dump is recorded", || rows.count("coredumps", "1=1") == 1).await;
    wait_until("only the first dump waits", || server.rescued().len() == 1).await;
    server.store.clear_faults();
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["poison 1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_directory_replay_each_dump_once() {
    // Without a window of repeats a dump that is replayed twice would be two rows.
    let (server, clock) = with_clock(&[("COREDUMP_DEDUPE_SECONDS", "0")]).await;
    let demo = server.demo().await;
    server.store.set_down(true);
    let bodies: Vec<String> = (0..10).map(|number| format!("dump {number}")).collect();
    for body in &bodies {
        post_during_outage(&server, &demo.device.key, body).await;
    }
    server.store.set_down(false);
    let (one, other) = (server.another().intake, server.another().intake);
    let runtime = tokio::runtime::Handle::current();
    let (one, other) = tokio::join!(
        tokio::task::spawn_blocking(move || runtime.block_on(one.replay())),
        other.replay()
    );
    let replayed = one.unwrap().unwrap().replayed + other.unwrap().replayed;
    assert_eq!(replayed, 10);
    let mut dumps = after_recovery(&server, &demo.device).await;
    dumps.sort();
    assert_eq!(dumps, bodies.iter().map(|body| format!("{body} 1")).collect::<Vec<_>>());
    clock.advance(Duration::from_secs(1));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_takes_too_long_is_rescued_until_it_is_stored() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_device(demo.model_id, "{}").await;
    let gate = Gate::new();
    let hold = FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put);
    server.store.inject(hold);
    let fails = FaultRule::new(Fault::Fail).on(Operation::Put).key(&other.key).nth(1);
    server.store.inject(fails);
    let began = Instant::now();
    tokio::join!(
        post_during_outage(&server, &demo.device.key, "succeeds after all"),
        post_during_outage(&server, &other.key, "fails in the end"),
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.metric_where(INGEST, "rescued").await, 2);
    assert_eq!(server.rescued().len(), 2);
    // The requests which still receive the dumps have locked their files.
    let round = server.another().intake.replay().await.unwrap();
    assert_eq!(round, ReplayRound { replayed: 0, waiting: 2 });
    assert_eq!(server.rows().count("coredumps", "1=1"), 0);
    gate.open();
    let dumps = after_recovery(&server, &demo.device).await;
    assert_eq!(dumps, ["succeeds after all 1"]);
    let dumps = after_recovery(&server, &other).await;
    assert_eq!(dumps, ["fails in the end 1"]);
    assert_eq!(server.stored_keys().len(), 2);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_an_unknown_device_is_not_rescued() {
    let (server, records) = with_records().await;
    let demo = server.demo().await;
    server.store.set_down(true);
    server.post_dump("zzzzzzzz", "1", "dump").await.expect_error(404, "RECORD_NOT_FOUND");
    assert_eq!(server.rescued().len(), 0);
    // While the database is down it is not known whether the device exists.
    records.set_down(true);
    post_during_outage(&server, "zzzzzzzz", "dump").await;
    post_during_outage(&server, &demo.device.key, "dump of a deleted device").await;
    assert_eq!(server.rescued().len(), 2);
    server.delete(&format!("/api/devices/{}", demo.device.id)).await.expect(204);
    records.set_down(false);
    server.store.set_down(false);
    server.wait_for_empty_rescue().await;
    assert_eq!(server.rows().count("coredumps", "1=1"), 0);
    assert_eq!(server.stored_keys(), [""; 0]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_not_rescued() {
    let (server, records) = with_records().await;
    let demo = server.demo().await;
    records.set_down(true);
    post_during_outage(&server, &demo.device.key, "").await;
    post_during_outage(&server, &demo.device.key, &"x".repeat(1_048_577)).await;
    let path = format!("/api/iot/coredump?device_key={}&chip=a;b", demo.device.key);
    server.post(&path, "dump").await.expect_error(400, "VALIDATION_FAILED");
    assert_eq!(server.rescued().len(), 0);
    assert_eq!(server.metric_where(INGEST, "unavailable").await, 2);
    records.set_down(false);
    server.finish().await;
}
