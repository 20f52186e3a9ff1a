use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::publication::{PublicationStart, PublishedObjects};
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::models::repository::ModelRepository;

use crate::support::{
    Bench, MINUTE, Set, change, facts, paths, second, staging_keys, symbols_key, upload, version,
};

fn granted(start: &PublicationStart) -> bool {
    matches!(start, PublicationStart::Granted { .. })
}

#[tokio::test]
async fn one_publication_of_a_version_at_a_time_until_its_lease_ends() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let first = Set { model_id, ..Set::default() };
    let second = |at| Set { upload: "bb", seed: "second", at, model_id, ..Set::default() };
    assert_eq!(bench.begin(&first).await, PublicationStart::Granted { existing: None });
    assert_eq!(bench.begin(&second(101)).await, PublicationStart::Busy);
    assert!(granted(&bench.begin(&first).await), "the owner may ask again");
    let other = Set { version: "2.0.0", ..second(101) };
    assert!(granted(&bench.begin(&other).await), "another version is free");
    assert!(granted(&bench.begin(&second(160)).await), "the lease ended by itself");
    assert_eq!(bench.commit(&first).await, None);
    bench.db.end(&upload("bb")).await.unwrap();
    assert!(granted(&bench.begin(&first).await));
}

#[tokio::test]
async fn publications_of_one_build_share_its_symbols() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    assert!(granted(&bench.begin(&Set { model_id, ..Set::default() }).await));
    let same_build = Set { upload: "bb", version: "2.0.0", model_id, ..Set::default() };
    assert!(granted(&bench.begin(&same_build).await));
}

#[tokio::test]
async fn a_live_lease_can_be_renewed_and_a_lost_one_cannot() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let set = Set { model_id, ..Set::default() };
    bench.begin(&set).await;
    let renew = async |at| {
        bench.db.renew(&upload("aa"), second(at), second(at).after(MINUTE)).await.unwrap()
    };
    assert!(renew(150).await);
    let rival = Set { upload: "bb", at: 200, model_id, ..Set::default() };
    assert_eq!(bench.begin(&rival).await, PublicationStart::Busy);
    assert!(!renew(210).await);
    assert_eq!(bench.commit(&Set { at: 210, ..set }).await, None);
}

#[tokio::test]
async fn the_first_publication_writes_the_row_the_pointer_and_the_audit_record() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let set = Set { model_id, ..Set::default() };
    bench.begin(&set).await;
    let published = bench.commit(&set).await.unwrap();
    assert!(published.pointer_changed);
    assert_eq!((published.pruned, published.protected), (vec![], vec![]));
    assert_eq!(bench.audited().last().unwrap(), "firmware.uploaded demo/1.0.0");
    let model = ModelRepository::find(&bench.db, model_id).await.unwrap().unwrap();
    assert_eq!(model.summary.firmware_version.as_deref(), Some("1.0.0"));
    assert_eq!(model.updated_at, second(100));
    let builds = bench.lines("SELECT elf_sha256 || version AS line FROM known_builds");
    assert_eq!(builds, [format!("{}1.0.0", facts("first").build_id())]);
    assert_eq!(bench.lines("SELECT name AS line FROM leases"), Vec::<String>::new());
}

#[tokio::test]
async fn without_the_lease_or_the_model_nothing_is_committed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    assert_eq!(bench.commit(&Set { model_id, ..Set::default() }).await, None);
    assert_eq!(bench.commit(&Set { model_id: 7, ..Set::default() }).await, None);
    assert_eq!(bench.versions(model_id).await, Vec::<String>::new());
    assert_eq!(bench.audited().len(), 1);
}

#[tokio::test]
async fn an_unchanged_set_only_becomes_newest_and_current() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let again = Set {
        seed: "1.0.0",
        objects: PublishedObjects::Unchanged,
        at: 150,
        model_id,
        ..Set::default()
    };
    let PublicationStart::Granted { existing: Some(held) } = bench.begin(&again).await else {
        panic!("the version is stored");
    };
    let published = bench.commit(&again).await.unwrap();
    assert!(published.pointer_changed);
    let found = bench.version(model_id, "1.0.0").await;
    assert_eq!(found.uploaded_at, second(150));
    assert_eq!((found.id, found.facts), (held.id, held.facts));
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unchanged_set_whose_row_was_deleted_meanwhile_is_not_committed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let objects = PublishedObjects::Unchanged;
    let again = Set { seed: "1.0.0", objects, at: 150, model_id, ..Set::default() };
    bench.begin(&again).await;
    FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(151)).await.unwrap();
    assert_eq!(bench.commit(&again).await, None);
    assert_eq!(bench.claim("cc", 152).await, [], "its objects are under publication");
}

fn staged(model_id: i64, upload: &'static str, at: i64) -> Set<'static> {
    Set { upload, seed: upload, objects: PublishedObjects::Staged, at, model_id, ..Set::default() }
}

#[tokio::test]
async fn a_staged_set_is_marked_until_it_is_settled() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, ..Set::default() }).await;
    let set = staged(model_id, "bb", 110);
    bench.begin(&set).await;
    let published = bench.commit(&set).await.unwrap();
    assert!(!published.pointer_changed);
    let found = bench.version(model_id, "1.0.0").await;
    assert_eq!(
        found.key(coredock_domain::artifacts::key::ArtifactName::Elf),
        staging_keys("bb")[0]
    );
    assert_eq!(found.facts, facts("bb"));

    assert_eq!(bench.db.unsettled(second(111), 10).await.unwrap(), [], "the copy is under way");
    assert_eq!(bench.db.unsettled(second(170), 10).await.unwrap(), std::slice::from_ref(&found));
    bench.db.end(&upload("bb")).await.unwrap();
    assert_eq!(bench.db.unsettled(second(111), 10).await.unwrap(), std::slice::from_ref(&found));

    assert!(!bench.db.settle(found.id, &upload("cc"), second(112)).await.unwrap());
    assert_eq!(bench.queued(), Vec::<String>::new());
    assert!(bench.db.settle(found.id, &upload("bb"), second(112)).await.unwrap());
    assert_eq!(bench.queued(), paths(&staging_keys("bb")));
    assert!(!bench.db.settle(found.id, &upload("bb"), second(113)).await.unwrap());
    assert_eq!(bench.db.unsettled(second(113), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_set_that_replaces_a_staged_one_queues_the_older_staged_objects() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, ..Set::default() }).await;
    bench.publish(&staged(model_id, "bb", 110)).await;
    bench.publish(&staged(model_id, "cc", 120)).await;
    assert_eq!(bench.queued(), paths(&staging_keys("bb")));
    let found = bench.version(model_id, "1.0.0").await;
    assert_eq!(found.staging, Some(upload("cc")));
    let referenced = bench.instant_text("last_referenced_at");
    let referenced =
        bench.lines(&format!("SELECT {referenced} AS line FROM known_builds ORDER BY id"));
    let expected = [second(110), second(120), second(120)].map(|at| at.to_string());
    assert_eq!(referenced, expected, "a replaced build is referenced until it is replaced");
}

#[tokio::test]
async fn publishing_cancels_queued_deletes_and_waits_for_those_that_have_begun() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(120)).await.unwrap();
    let again = |at| Set { seed: "1.0.0", at, model_id, ..Set::default() };
    let claimed = bench.claim("dd", 121).await;
    assert_eq!(claimed.len(), 5);
    assert_eq!(bench.begin(&again(122)).await, PublicationStart::Busy);
    assert_eq!(
        bench.begin(&again(181)).await,
        PublicationStart::Granted { existing: None },
        "the lease of the deletes ended"
    );
    assert_eq!(bench.queued(), Vec::<String>::new());
    bench.commit(&again(182)).await.unwrap();
    assert_eq!(bench.versions(model_id).await, ["1.1.0", "1.0.0"]);
}

#[tokio::test]
async fn symbols_about_to_be_written_are_not_deleted() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let symbols = symbols_key("first");
    bench.sql(&format!(
        "INSERT INTO outbox (object_key, scope, queued_at, next_attempt_at) VALUES \
         ('{symbols}', '{scope}', '{at}', '{at}')",
        scope = symbols.scope().unwrap(),
        at = second(0)
    ));
    let set = Set { model_id, ..Set::default() };
    assert_eq!(bench.claim("dd", 90).await.len(), 1);
    assert_eq!(bench.begin(&set).await, PublicationStart::Busy);
    assert!(granted(&bench.begin(&Set { at: 151, ..set }).await));
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn concurrent_publications_of_different_versions_all_commit() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let publications = ["0a", "0b", "0c"].map(|upload| {
        let bench = &bench;
        async move {
            let set = Set { upload, version: upload, seed: upload, model_id, ..Set::default() };
            bench.publish(&set).await;
        }
    });
    let [first, second, third] = publications;
    tokio::join!(first, second, third);
    assert_eq!(bench.versions(model_id).await.len(), 2);
    let uploads = bench
        .lines("SELECT target_id AS line FROM audit_records WHERE action = 'firmware.uploaded'");
    assert_eq!(uploads.len(), 3);
}
