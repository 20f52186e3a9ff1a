use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::publication::PublicationStart;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::upkeep::outbox::OutboxRepository;
use coredock_domain::upkeep::outbox::{Backlog, ClaimDeletes};
use coredock_domain::upkeep::sweep_repository::SweepRepository;

use crate::support::{
    Bench, Set, change, device_key, firmware_keys, owner, paths, second, symbols_key, upload,
    version,
};

/// A database in which the deletes of dumps 1 and 2 wait since second 10.
async fn with_two_deletes() -> Bench {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let device = bench.device(model_id, "abcd2345").await;
    bench.dump(device, "1.0.0", "PARSED");
    bench.dump(device, "1.0.0", "PARSED");
    assert!(DeviceRepository::delete(&bench.db, device, &change(10)).await.unwrap());
    bench
}

fn dump_key(id: i64) -> ArtifactKey {
    ArtifactKey::Coredump { device: device_key("abcd2345"), id }
}

#[tokio::test]
async fn an_entry_is_claimed_once_and_is_removed_when_it_is_finished() {
    let bench = with_two_deletes().await;
    let claimed = bench.claim("aa", 10).await;
    let keys: Vec<_> = claimed.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, [dump_key(1), dump_key(2)]);
    assert!(claimed.iter().all(|entry| entry.attempts == 0));
    assert_eq!(bench.claim("bb", 20).await, []);

    bench.db.finish(&owner("bb"), &[claimed[0].id]).await.unwrap();
    assert_eq!(bench.queued().len(), 2, "only the owner of the lease finishes");
    bench.db.finish(&owner("aa"), &[claimed[0].id]).await.unwrap();
    assert_eq!(bench.queued(), paths(&[dump_key(2)]));
}

#[tokio::test]
async fn a_claim_leases_the_oldest_entries_up_to_its_limit() {
    let bench = with_two_deletes().await;
    let (now, until) = (second(10), second(70));
    let claim = ClaimDeletes { owner: owner("aa"), now, until, limit: 1 };
    let claimed = bench.db.claim(claim).await.unwrap();
    assert_eq!(claimed.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [&dump_key(1)]);
}

#[tokio::test]
async fn a_failed_delete_is_due_again_later_with_its_attempt_counted() {
    let bench = with_two_deletes().await;
    let ids: Vec<_> = bench.claim("aa", 10).await.iter().map(|entry| entry.id).collect();
    bench.db.retry(&owner("bb"), &ids, second(11)).await.unwrap();
    assert_eq!(bench.claim("bb", 20).await, [], "only the owner of the lease postpones");
    bench.db.retry(&owner("aa"), &ids, second(30)).await.unwrap();
    assert_eq!(bench.claim("bb", 29).await, []);
    let again = bench.claim("bb", 30).await;
    assert_eq!(again.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_delete_that_may_still_arrive_keeps_its_object_from_being_published() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(111)).await.unwrap();
    let ids: Vec<_> = bench.claim("aa", 120).await.iter().map(|entry| entry.id).collect();
    bench.db.leave(&owner("aa"), &ids).await.unwrap();
    assert_eq!(bench.claim("bb", 179).await, []);
    let again = Set { model_id, seed: "1.0.0", at: 179, ..Set::default() };
    assert_eq!(bench.begin(&again).await, PublicationStart::Busy);
    let later = bench.claim("bb", 180).await;
    assert_eq!(later.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [1; 5]);
    bench.db.retry(&owner("bb"), &ids, second(190)).await.unwrap();
    let granted = bench.begin(&Set { at: 181, ..again }).await;
    assert!(matches!(granted, PublicationStart::Granted { .. }), "{granted:?}");
}

#[tokio::test]
async fn an_entry_whose_lease_ended_is_claimed_by_others_and_no_longer_finished() {
    let bench = with_two_deletes().await;
    let ids: Vec<_> = bench.claim("aa", 10).await.iter().map(|entry| entry.id).collect();
    assert_eq!(bench.claim("bb", 69).await, []);
    assert_eq!(bench.claim("bb", 70).await.len(), 2);
    bench.db.finish(&owner("aa"), &ids).await.unwrap();
    assert_eq!(bench.queued().len(), 2);
}

#[tokio::test]
async fn the_backlog_counts_the_entries_and_dates_the_oldest() {
    let bench = Bench::new().await;
    assert_eq!(bench.db.backlog().await.unwrap(), Backlog { pending: 0, oldest: None });
    let bench = with_two_deletes().await;
    bench.claim("aa", 10).await;
    let expected = Backlog { pending: 2, oldest: Some(second(10)) };
    assert_eq!(bench.db.backlog().await.unwrap(), expected);
}

#[tokio::test]
async fn objects_under_publication_are_not_claimed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    bench.begin(&Set { model_id, seed: "1.0.0", at: 110, ..Set::default() }).await;
    FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(111)).await.unwrap();
    assert_eq!(bench.queued(), paths(&firmware_keys("demo", "1.0.0")));
    assert_eq!(bench.claim("bb", 120).await, []);
    bench.db.end(&upload("aa")).await.unwrap();
    assert_eq!(bench.claim("bb", 120).await.len(), 5);
}

#[tokio::test]
async fn entries_of_objects_in_use_are_cancelled_instead_of_claimed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, ..Set::default() }).await;
    let device = bench.device(model_id, "abcd2345").await;
    let id = bench.dump(device, "1.0.0", "PARSED");
    let mut in_use = firmware_keys("demo", "1.0.0");
    in_use.extend([symbols_key("first"), dump_key(id), ArtifactKey::Owner]);
    for key in &in_use {
        bench.sql(&format!(
            "INSERT INTO outbox (object_key, queued_at, next_attempt_at) VALUES ('{key}', '{at}', \
             '{at}')",
            at = second(0)
        ));
    }
    assert_eq!(bench.claim("bb", 200).await, []);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_is_queued_once() {
    let bench = with_two_deletes().await;
    let keys = [dump_key(1), dump_key(3)];
    assert_eq!(bench.db.queue_garbage(&keys, second(20)).await.unwrap(), 1);
    assert_eq!(bench.queued(), paths(&[dump_key(1), dump_key(2), dump_key(3)]));
}
