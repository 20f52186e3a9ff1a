use std::collections::HashSet;
use std::time::Duration;

use coredock_domain::audit::Change;
use coredock_domain::coredumps::coredump::{Coredump, CoredumpSummary, ParseStatus};
use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::error::RepositoryError;
use coredock_domain::intake::repository::{
    InitialState, IntakeRepository, RecordCoredump, Recorded, SameBody, Sender,
};
use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_repository::{Database, SqliteOptions};
use diesel::connection::SimpleConnection;

use crate::support::dumps::{Dump, KEY, digest, object, together};
use crate::support::{Bench, OPTIONS, change, code, connect, device_key, second};

#[tokio::test]
async fn a_dump_reads_back_as_it_was_recorded_and_is_due_at_once() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump { build: Some("64d3738c1"), ..Dump::default() }).await;
    let summary = CoredumpSummary {
        id,
        device_id,
        chip: "esp32s3".into(),
        firmware_version: "1.0.0".into(),
        size: 4,
        parse_status: ParseStatus::Pending,
        uploaded_at: second(100),
        parsed_at: None,
        created_at: second(100),
        build_id: coredock_domain::coredumps::coredump::BuildId::parse("64d3738c1"),
        signature: None,
        occurrences: 1,
        last_seen_at: second(100),
    };
    let expected = Coredump {
        summary: summary.clone(),
        device: device_key(KEY),
        sha256: digest("body"),
        parsed_output: None,
        report: None,
        fault: None,
        attempts: 0,
        next_attempt_at: Some(second(100)),
        updated_at: second(100),
    };
    assert_eq!(bench.coredump(device_id, id).await, expected);
    let list = CoredumpRepository::list(&bench.db, device_id).await.unwrap().unwrap();
    assert_eq!(list, [summary]);
    assert_eq!(bench.audited().last().unwrap(), &format!("coredump.created {id}"));
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_delivery_is_found_by_the_change_that_recorded_it() {
    let (bench, device_id) = Bench::with_device().await;
    let of = |dump: &Dump<'_>, correlation_id: &str| {
        let mut change = change(dump.at);
        change.origin.correlation_id = correlation_id.into();
        change
    };
    let first = Dump { same_since: Some(0), at: 100, ..Dump::default() };
    let (created, counted) = (of(&first, "created"), of(&first, "counted"));
    assert_eq!(bench.db.find_delivery(&created).await.unwrap(), None);
    let id = bench.db.reserve_id().await.unwrap();
    for (given, change) in [(id, &created), (id + 1, &counted)] {
        bench.db.record(first.with_id(given), change).await.unwrap();
        assert_eq!(bench.db.find_delivery(change).await.unwrap(), Some(id));
    }
    let again = of(&Dump { at: 200, ..first.clone() }, "created");
    assert_eq!(bench.db.find_delivery(&again).await.unwrap(), None);
    bench.db.repeat(id, &again).await.unwrap();
    assert_eq!(bench.db.find_delivery(&again).await.unwrap(), Some(id));
    let which = coredock_domain::coredumps::repository::WhichCoredumps::All;
    CoredumpRepository::delete(&bench.db, device_id, which, &change(300)).await.unwrap();
    assert_eq!(bench.db.find_delivery(&created).await.unwrap(), Some(id));
}

#[tokio::test]
async fn recording_a_dump_under_its_own_id_again_counts_nothing() {
    let (bench, device_id) = Bench::with_device().await;
    let dump = Dump { same_since: Some(0), ..Dump::default() };
    let id = bench.store(&dump).await;
    let again = bench.record_as(id, &dump).await.unwrap();
    assert_eq!(again, Recorded::Repeated { id });
    assert_eq!(bench.coredump(device_id, id).await.summary.occurrences, 1);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_retried_delivery_that_was_counted_after_all_is_not_counted_again() {
    let (bench, device_id) = Bench::with_device().await;
    let dump = Dump { same_since: Some(0), ..Dump::default() };
    let id = bench.store(&dump).await;
    let mut delivery = change(dump.at);
    delivery.origin.correlation_id = "delivery".into();
    let retried = RecordCoredump { is_retried: true, ..dump.with_id(id + 1) };
    for _ in 0..2 {
        let recorded = bench.db.record(retried.clone(), &delivery).await.unwrap();
        assert_eq!(recorded, Recorded::Repeated { id });
        assert_eq!(bench.coredump(device_id, id).await.summary.occurrences, 2);
    }
    assert_eq!(bench.queued(), [object(KEY, id + 1)]);
}

#[tokio::test]
async fn a_dump_in_a_fixed_state_is_never_claimed() {
    let (bench, device_id) = Bench::with_device().await;
    for (status, output) in [(ParseStatus::Pending, None), (ParseStatus::Parsed, Some("text"))] {
        let parsed_output = output.map(ToOwned::to_owned);
        let state = InitialState::Fixed { status, parsed_output: parsed_output.clone() };
        let id = bench.store(&Dump { state, ..Dump::default() }).await;
        let dump = bench.coredump(device_id, id).await;
        assert_eq!((dump.summary.parse_status, &dump.parsed_output), (status, &parsed_output));
        assert_eq!(dump.summary.parsed_at.is_some(), status == ParseStatus::Parsed);
        assert_eq!(dump.next_attempt_at, None);
    }
    assert_eq!(bench.claim_job("aa", 1000).await, None);
    let queue = bench.db.queue(second(1000)).await.unwrap();
    assert_eq!((queue.pending, queue.ready, queue.delayed), (1, 0, 0));
}

#[tokio::test]
async fn fifty_simultaneous_identical_dumps_are_one_dump_seen_fifty_times() {
    let (bench, device_id) = Bench::with_device().await;
    let dump = Dump { same_since: Some(0), ..Dump::default() };
    let recorded = together(50, async |_| bench.record(&dump).await).await;
    let stored: Vec<_> = recorded
        .iter()
        .filter(|(_, recorded)| *recorded == Recorded::Stored { pruned: vec![] })
        .map(|(id, _)| *id)
        .collect();
    let [id] = stored[..] else { panic!("{stored:?}") };
    assert!(
        recorded.iter().all(|(new, recorded)| *new == id || *recorded == Recorded::Repeated { id })
    );
    assert_eq!(bench.coredump(device_id, id).await.summary.occurrences, 50);
    let mut expected: Vec<_> = recorded.iter().map(|(id, _)| object(KEY, *id)).collect();
    expected.retain(|key| *key != object(KEY, id));
    let mut queued = bench.queued();
    expected.sort();
    queued.sort();
    assert_eq!(queued, expected);
    let audited = bench.audited();
    let counted = audited.iter().filter(|line| **line == format!("coredump.updated {id}"));
    assert_eq!(counted.count(), 49);
}

#[tokio::test]
async fn a_dump_that_cannot_be_recorded_fails_alone() {
    let (bench, device_id) = Bench::with_device().await;
    let taken = bench.store(&Dump { body: "taken", max_dumps: 100, ..Dump::default() }).await;
    let failures = bench.db.failures().conflict.load(std::sync::atomic::Ordering::Relaxed);
    let recorded = together(30, async |index| {
        let body = format!("body {index}");
        let dump = Dump { body: &body, max_dumps: 100, ..Dump::default() };
        match index {
            7 => bench.record_as(taken, &dump).await,
            13 => {
                let of_deleted = Dump { device_id: 99, key: "zzzzzzz2", ..dump };
                bench.record_as(1013, &of_deleted).await
            }
            _ => bench.record_as(1000 + index, &dump).await,
        }
    })
    .await;
    for (index, recorded) in recorded.into_iter().enumerate() {
        match index {
            7 => assert!(matches!(recorded, Err(RepositoryError::Conflict)), "{recorded:?}"),
            13 => assert_eq!(recorded.unwrap(), Recorded::DeviceDeleted),
            _ => assert_eq!(recorded.unwrap(), Recorded::Stored { pruned: vec![] }),
        }
    }
    assert_eq!(bench.dumps(device_id).await.len(), 29);
    assert_eq!(bench.coredump(device_id, taken).await.sha256, digest("taken"));
    assert_eq!(bench.queued(), [object("zzzzzzz2", 1013)]);
    let counted = bench.db.failures().conflict.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(counted - failures, 1);
}

#[tokio::test]
async fn a_dump_that_makes_the_commit_fail_is_left_out() {
    let (bench, device_id) = Bench::sqlite_with_device().await;
    // The broken reference is checked at the commit only.
    bench.sql(
        "CREATE TABLE spoilt \
         (device integer REFERENCES devices (id) DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER spoil AFTER INSERT ON coredumps WHEN NEW.firmware_version = 'spoilt' \
         BEGIN INSERT INTO spoilt VALUES (12345); END",
    );
    let recorded = together(20, async |index| {
        let body = format!("body {index}");
        let version = if index == 5 { "spoilt" } else { "1.0.0" };
        let dump = Dump { body: &body, version, max_dumps: 100, ..Dump::default() };
        bench.record_as(1000 + index, &dump).await
    })
    .await;
    for (index, recorded) in recorded.into_iter().enumerate() {
        assert_eq!(recorded.is_err(), index == 5, "{index}: {recorded:?}");
    }
    assert_eq!(bench.dumps(device_id).await.len(), 19);
    let created = bench.audited();
    assert_eq!(created.iter().filter(|line| line.starts_with("coredump.created")).count(), 19);
    bench.store(&Dump { body: "after", max_dumps: 100, ..Dump::default() }).await;
}

#[tokio::test]
async fn a_dropped_caller_does_not_disturb_the_others() {
    let (bench, device_id) = Bench::with_device().await;
    let mut stored = 0;
    for round in 0..40 {
        let recorded = together(8, async |index| {
            let (body, id) = (format!("{round} {index}"), 1000 + round * 8 + index);
            let dump = Dump { body: &body, max_dumps: 10_000, ..Dump::default() };
            let recording = bench.record_as(id, &dump);
            if index % 2 == 0 {
                let limit = Duration::from_micros(u64::try_from(round * 60).unwrap());
                let _ = tokio::time::timeout(limit, recording).await;
                return 0;
            }
            assert_eq!(recording.await.unwrap(), Recorded::Stored { pruned: vec![] });
            1
        })
        .await;
        stored += recorded.into_iter().sum::<usize>();
    }
    assert_eq!(stored, 160);
    bench.store(&Dump { body: "last", max_dumps: 10_000, ..Dump::default() }).await;
    let rows = bench.dumps(device_id).await.len();
    assert!(rows > stored, "{rows}");
    let created = bench.audited();
    let created = created.iter().filter(|line| line.starts_with("coredump.created")).count();
    assert_eq!(created, rows, "a dump and its audit record, or neither");
}

#[tokio::test]
async fn a_dump_whose_caller_was_dropped_in_the_queue_is_never_recorded() {
    let (bench, device_id) = Bench::sqlite_with_device().await;
    bench.record_as(7, &Dump { body: "opens the connection", ..Dump::default() }).await.unwrap();
    let mut blocker = connect(&bench.file());
    blocker.batch_execute("BEGIN IMMEDIATE").unwrap();
    let dump = |body| Dump { body, ..Dump::default() };
    let (first, second) = (dump("first"), dump("second"));
    let leading = bench.record_as(1, &first);
    let dropping = async {
        let waiting = bench.record_as(2, &second);
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
        blocker.batch_execute("ROLLBACK").unwrap();
    };
    let (led, ()) = tokio::join!(leading, dropping);
    assert_eq!(led.unwrap(), Recorded::Stored { pruned: vec![] });
    bench.record_as(3, &dump("third")).await.unwrap();
    assert_eq!(bench.dumps(device_id).await, [3, 1, 7]);
}

#[tokio::test]
async fn the_wait_to_be_recorded_is_limited() {
    let (bench, device_id) = Bench::sqlite_with_device().await;
    let options = SqliteOptions { readers: 1, wait: Duration::from_millis(50) };
    let db = Database::open_sqlite(&bench.file(), options).await.unwrap();
    let change: Change = change(100);
    let record = |id, body| {
        IntakeRepository::record(&db, Dump { body, ..Dump::default() }.with_id(id), &change)
    };
    record(7, "opens the connection").await.unwrap();
    let mut blocker = connect(&bench.file());
    blocker.batch_execute("BEGIN IMMEDIATE").unwrap();
    let late = async {
        let late = record(2, "two").await;
        blocker.batch_execute("ROLLBACK").unwrap();
        late
    };
    let (first, late) = tokio::join!(record(1, "one"), late);
    assert!(first.is_ok(), "the first dump had the connection and waited for the file");
    let Err(RepositoryError::Unavailable { operation: "coredump.record", .. }) = late else {
        panic!("{late:?}");
    };
    assert_eq!(db.failures().unavailable.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(bench.dumps(device_id).await, [1, 7]);
}

#[tokio::test]
async fn a_single_dump_costs_three_statements_and_its_transaction() {
    let (bench, _) = Bench::with_device().await;
    bench.store(&Dump::default()).await;
    let id = bench.db.reserve_id().await.unwrap();
    let before = bench.db.statement_count();
    bench.record_as(id, &Dump { body: "next", ..Dump::default() }).await.unwrap();
    assert_eq!(bench.db.statement_count() - before, 5 + bench.locks(1));
}

#[tokio::test]
async fn dumps_that_arrive_at_the_same_time_share_their_commits() {
    let (bench, device_id) = Bench::sqlite_with_device().await;
    let before = bench.db.statement_count();
    let recorded = together(200, async |index| {
        let body = format!("body {index}");
        let dump = Dump { body: &body, max_dumps: 1000, ..Dump::default() };
        bench.record_as(1000 + index, &dump).await.unwrap()
    })
    .await;
    assert!(recorded.into_iter().all(|result| result == Recorded::Stored { pruned: vec![] }));
    assert_eq!(bench.dumps(device_id).await.len(), 200);
    let statements = bench.db.statement_count() - before;
    assert!(statements < 200 * 3 + 20, "{statements}");
}

#[tokio::test]
async fn an_id_is_never_reserved_twice() {
    let (bench, _) = Bench::sqlite_with_device().await;
    let reserved = together(200, async |_| bench.db.reserve_id().await.unwrap()).await;
    let mut seen: HashSet<i64> = reserved.into_iter().collect();
    assert_eq!(seen.len(), 200);

    let other = Database::open_sqlite(&bench.file(), OPTIONS).await.unwrap();
    for _ in 0..100 {
        assert!(seen.insert(other.reserve_id().await.unwrap()));
        assert!(seen.insert(bench.db.reserve_id().await.unwrap()));
    }
    let last = *seen.iter().max().unwrap();
    bench.record_as(last + 1000, &Dump::default()).await.unwrap();
    let reopened = Database::open_sqlite(&bench.file(), OPTIONS).await.unwrap();
    assert!(reopened.reserve_id().await.unwrap() > last + 1000);
}

#[tokio::test]
async fn sixty_four_ids_cost_one_commit() {
    let (bench, _) = Bench::sqlite_with_device().await;
    let before = bench.db.statement_count();
    for _ in 0..64 {
        bench.db.reserve_id().await.unwrap();
    }
    assert_eq!(bench.db.statement_count() - before, 4);
}

#[tokio::test]
async fn a_sender_and_its_repeated_body_are_found_in_one_statement() {
    let (bench, device_id) = Bench::with_device().await;
    bench.store(&Dump::default()).await;
    let newer = bench.store(&Dump { at: 110, ..Dump::default() }).await;
    let body = |body, since| Some(SameBody { sha256: digest(body), since: second(since) });
    let found = |repeated| Some(Sender { device_id, model: code("demo"), repeated });
    let before = bench.db.statement_count();
    let find = async |body| bench.db.find_sender(&device_key(KEY), body).await.unwrap();
    assert_eq!(find(None).await, found(None));
    assert_eq!(find(body("body", 110)).await, found(Some(newer)));
    assert_eq!(find(body("body", 111)).await, found(None));
    assert_eq!(find(body("other", 0)).await, found(None));
    assert_eq!(bench.db.statement_count() - before, 4);
    let unknown = bench.db.find_sender(&device_key("zzzzzzz2"), body("body", 0)).await.unwrap();
    assert_eq!(unknown, None);
}

#[tokio::test]
async fn a_body_of_another_device_or_of_long_ago_is_a_new_dump() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    bench.store(&Dump::default()).await;
    let of_other =
        Dump { device_id: other, key: "zzzzzzz2", same_since: Some(0), ..Dump::default() };
    bench.store(&of_other).await;
    bench.store(&Dump { same_since: Some(101), at: 200, ..Dump::default() }).await;
    assert_eq!(bench.dumps(device_id).await.len(), 2);
}

#[tokio::test]
async fn a_repeated_dump_is_counted_and_never_seen_earlier() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    for (at, seen, occurrences) in [(150, 150, 2), (120, 150, 3)] {
        assert!(bench.db.repeat(id, &change(at)).await.unwrap());
        let summary = bench.coredump(device_id, id).await.summary;
        assert_eq!((summary.last_seen_at, summary.occurrences), (second(seen), occurrences));
        assert_eq!(summary.uploaded_at, second(100));
    }
    bench.sql("UPDATE coredumps SET last_seen_at = NULL");
    assert_eq!(bench.coredump(device_id, id).await.summary.last_seen_at, second(100));
    assert!(bench.db.repeat(id, &change(160)).await.unwrap());
    assert_eq!(bench.coredump(device_id, id).await.summary.last_seen_at, second(160));
    assert!(!bench.db.repeat(77, &change(160)).await.unwrap());
    assert_eq!(bench.audited().last().unwrap(), &format!("coredump.updated {id}"));
}

#[tokio::test]
async fn recording_cancels_a_queued_delete_of_the_object() {
    let (bench, device_id) = Bench::with_device().await;
    bench.record_as(5, &Dump::default()).await.unwrap();
    DeviceRepository::delete(&bench.db, device_id, &change(110)).await.unwrap();
    assert_eq!(bench.queued(), [object(KEY, 5)]);
    let device_id = bench.device(1, KEY).await;
    bench.record_as(5, &Dump { device_id, at: 120, ..Dump::default() }).await.unwrap();
    assert_eq!(bench.queued(), Vec::<String>::new());
}
