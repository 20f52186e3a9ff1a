use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::intake::repository::Recorded;

use crate::support::dumps::{Dump, KEY, object, parsed};
use crate::support::{Bench, second};

/// Records dumps with different bodies, one second after another; returns their ids.
async fn record_each(bench: &Bench, bodies: &[&str], dump: &Dump<'_>) -> Vec<i64> {
    let mut ids = Vec::new();
    for (body, at) in bodies.iter().zip(dump.at..) {
        ids.push(bench.record(&Dump { body, at, ..dump.clone() }).await.0);
    }
    ids
}

#[tokio::test]
async fn the_oldest_dump_makes_room_for_a_new_one() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    let of_other =
        bench.store(&Dump { device_id: other, key: "zzzzzzz2", ..Dump::default() }).await;
    let ids = record_each(&bench, &["a", "b", "c"], &Dump::default()).await;
    let (id, recorded) = bench.record(&Dump { body: "d", at: 103, ..Dump::default() }).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![ids[0]] });
    assert_eq!(bench.dumps(device_id).await, [id, ids[2], ids[1]]);
    assert_eq!(bench.dumps(other).await, [of_other]);
    assert_eq!(bench.queued(), [object(KEY, ids[0])]);
    let by_retention = bench.lines(
        "SELECT action || ' ' || target_id AS line FROM audit_records \
         WHERE actor_kind = 'system' AND correlation_id = 'retention' AND at = \
         (SELECT max(at) FROM audit_records)",
    );
    assert_eq!(by_retention, [format!("coredump.deleted {}", ids[0])]);
}

#[tokio::test]
async fn a_smaller_limit_deletes_every_surplus_dump_when_the_next_is_recorded() {
    let (bench, device_id) = Bench::with_device().await;
    let bodies = ["a", "b", "c", "d", "e"];
    let ids = record_each(&bench, &bodies, &Dump { max_dumps: 10, ..Dump::default() }).await;
    let (id, recorded) =
        bench.record(&Dump { body: "f", max_dumps: 0, at: 110, ..Dump::default() }).await;
    assert_eq!(recorded, Recorded::Stored { pruned: ids });
    assert_eq!(bench.dumps(device_id).await, [id], "the new dump is stored whatever the limit is");
    assert_eq!(bench.queued().len(), 5);
}

#[tokio::test]
async fn a_clock_that_steps_back_never_evicts_the_new_dump() {
    let (bench, device_id) = Bench::with_device().await;
    let ids = record_each(&bench, &["a", "b", "c"], &Dump::default()).await;
    let (id, recorded) = bench.record(&Dump { body: "d", at: 5, ..Dump::default() }).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![ids[0]] });
    assert_eq!(bench.dumps(device_id).await, [id, ids[2], ids[1]]);
    let dump = bench.coredump(device_id, id).await;
    assert_eq!(dump.summary.uploaded_at.micros(), second(102).micros() + 1);
    assert_eq!((dump.summary.created_at, dump.updated_at), (second(5), second(5)));
}

#[tokio::test]
async fn a_running_parse_spares_its_dump_until_it_ends() {
    let (bench, device_id) = Bench::with_device().await;
    let ids = record_each(&bench, &["a", "b", "c"], &Dump::default()).await;
    let job = bench.job("aa", 102).await;
    assert_eq!(job.id, ids[0]);
    let late = |body, at| Dump { body, at, ..Dump::default() };
    let (fourth, recorded) = bench.record(&late("d", 103)).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![] });
    let (fifth, recorded) = bench.record(&late("e", 104)).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![ids[1]] });
    assert_eq!(bench.dumps(device_id).await, [fifth, fourth, ids[2], ids[0]]);

    let finished = bench.finish(parsed(&job, "aa", 110)).await.unwrap();
    assert_eq!(finished.pruned, [ids[0]]);
    assert_eq!(bench.dumps(device_id).await, [fifth, fourth, ids[2]]);
    assert_eq!(bench.queued(), [object(KEY, ids[1]), object(KEY, ids[0])]);
}

#[tokio::test]
async fn an_expired_lease_does_not_spare_its_dump() {
    let (bench, device_id) = Bench::with_device().await;
    let ids = record_each(&bench, &["a", "b", "c"], &Dump::default()).await;
    bench.job("aa", 102).await;
    let (id, recorded) = bench.record(&Dump { body: "d", at: 162, ..Dump::default() }).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![ids[0]] });
    assert_eq!(bench.dumps(device_id).await, [id, ids[2], ids[1]]);
}

#[tokio::test]
async fn of_dumps_of_one_instant_the_lower_id_is_older() {
    let (bench, device_id) = Bench::with_device().await;
    for _ in 0..4 {
        bench.dump(device_id, "1.0.0", "PARSED");
    }
    let (id, recorded) = bench.record(&Dump::default()).await;
    assert_eq!(recorded, Recorded::Stored { pruned: vec![1, 2] });
    assert_eq!(bench.dumps(device_id).await, [id, 4, 3]);
    assert_eq!(bench.db.find(device_id, 2).await.unwrap(), None);
}
