mod late_symbols;
mod publication;
mod retention;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coredock_domain::firmware::publication::PublishedObjects;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::firmware::repository::{Activation, VersionDeletion};

use crate::support::{
    Bench, Set, change, code, device_key, facts, firmware_keys, paths, second, staging_keys,
    upload, version,
};

#[tokio::test]
async fn a_version_reads_back_as_it_was_published() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let published = bench.publish(&Set { model_id, ..Set::default() }).await;
    let found = bench.version(model_id, "1.0.0").await;
    assert_eq!(found.id, published.version_id);
    assert_eq!((found.model_id, &found.model), (model_id, &code("demo")));
    assert_eq!(found.facts, facts("first"));
    assert_eq!((found.uploaded_at, &found.staging), (second(100), &None));
    assert_eq!(FirmwareRepository::find(&bench.db, model_id, &version("2")).await.unwrap(), None);
}

#[tokio::test]
async fn a_device_is_offered_the_current_version_of_its_model() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.device(model_id, "abcd2345").await;
    let key = device_key("abcd2345");
    let offered = bench.db.offered_to(&key).await.unwrap().unwrap();
    assert_eq!((offered.model, offered.version), (code("demo"), None));

    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let before = bench.db.statement_count();
    let offered = bench.db.offered_to(&key).await.unwrap().unwrap();
    assert_eq!(bench.db.statement_count() - before, 1);
    assert_eq!(offered.version.clone().unwrap().version, version("1.1.0"));
    assert_eq!(bench.db.offered_by(model_id).await.unwrap().unwrap(), offered);

    bench.sql("UPDATE device_models SET firmware_version = 'adopted'");
    bench.model("other").await;
    assert_eq!(bench.db.offered_to(&key).await.unwrap().unwrap().version, None);
    assert_eq!(bench.db.offered_to(&device_key("ffffffff")).await.unwrap(), None);
    assert_eq!(bench.db.offered_by(7).await.unwrap(), None);
}

#[tokio::test]
async fn an_offer_is_read_once_between_two_commits() {
    let bench = Bench::sqlite().await;
    let model_id = bench.model("demo").await;
    let device_id = bench.device(model_id, "abcd2345").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let key = device_key("abcd2345");
    let offered = async || bench.db.offered_to(&key).await.unwrap();
    let version = async || offered().await.unwrap().version.unwrap().version.to_string();
    assert_eq!(version().await, "1.1.0");
    let before = bench.db.statement_count();
    assert_eq!(version().await, "1.1.0");
    assert_eq!(bench.db.statement_count(), before, "cached");

    let older = crate::support::version("1.0.0");
    bench.db.activate(model_id, &older, &change(900)).await.unwrap().unwrap();
    assert_eq!(version().await, "1.0.0", "read again after a commit");
    let devices: &dyn coredock_domain::devices::repository::DeviceRepository = &bench.db;
    devices.delete(device_id, &change(901)).await.unwrap();
    assert_eq!(offered().await, None, "a deleted device has no offer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_offer_is_never_older_than_the_last_commit_that_was_answered() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.device(model_id, "abcd2345").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let key = device_key("abcd2345");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (db, key, stop) = (bench.db.clone(), key.clone(), stop.clone());
        readers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                db.offered_to(&key).await.unwrap().unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    for n in 0..200 {
        let text = if n % 2 == 0 { "1.0.0" } else { "1.1.0" };
        bench.db.activate(model_id, &version(text), &change(1000 + n)).await.unwrap().unwrap();
        let offered = bench.db.offered_to(&key).await.unwrap().unwrap();
        assert_eq!(offered.version.unwrap().version, version(text), "activation {n}");
    }
    stop.store(true, Ordering::Relaxed);
    readers.join_all().await;
}

#[tokio::test]
async fn the_list_is_newest_first_with_the_numbers_of_pending_dumps() {
    let bench = Bench::new().await;
    let (model_id, other) = (bench.model("demo").await, bench.model("other").await);
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let device = bench.device(model_id, "abcd2345").await;
    let foreign = bench.device(other, "abcd2346").await;
    bench.dump(device, "1.0.0", "PENDING");
    bench.dump(device, "1.0.0", "ERROR");
    bench.dump(foreign, "1.0.0", "PENDING");
    let list = bench.db.list(model_id, second(0)).await.unwrap().unwrap();
    let lines: Vec<_> = list
        .iter()
        .map(|line| (line.version.version.as_str(), line.current, line.pending_coredumps))
        .collect();
    assert_eq!(lines, [("1.1.0", true, 0), ("1.0.0", false, 1)]);
    assert_eq!(bench.db.list(7, second(0)).await.unwrap(), None);
    assert_eq!(bench.db.list(other, second(0)).await.unwrap(), Some(Vec::new()));
}

#[tokio::test]
async fn the_list_costs_two_statements_for_10_and_for_500_versions() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, ..Set::default() }).await;
    let columns = "bin_size, bin_sha256, elf_size, elf_sha256, map_size, map_sha256, \
         sdkconfig_size, sdkconfig_sha256, version_json_size, version_json_sha256, chip, \
         project_name, idf_version, secure_version, uploaded_at, created_at";
    for versions in [10, 500] {
        bench.sql("DELETE FROM firmware_versions WHERE version <> '1.0.0'");
        bench.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {versions}) \
             INSERT INTO firmware_versions (device_model_id, version, {columns}) \
             SELECT device_model_id, i, {columns} FROM firmware_versions, n"
        ));
        let before = bench.db.statement_count();
        let list = bench.db.list(model_id, second(0)).await.unwrap().unwrap();
        assert_eq!((list.len(), bench.db.statement_count() - before), (versions, 2));
    }
}

#[tokio::test]
async fn activating_moves_the_pointer_once() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let before = bench.audited();
    let activate = async |text| bench.db.activate(model_id, &version(text), &change(200)).await;
    let activation = |changed| Some(Activation { model: code("demo"), changed });

    assert_eq!(activate("1.1.0").await.unwrap(), activation(false));
    assert_eq!(bench.audited(), before);
    assert_eq!(activate("1.0.0").await.unwrap(), activation(true));
    assert_eq!(bench.audited().last().unwrap(), "firmware.activated demo/1.0.0");
    assert_eq!(activate("9.9.9").await.unwrap(), None);
    assert_eq!(bench.db.activate(7, &version("1.0.0"), &change(200)).await.unwrap(), None);
    let offered = bench.db.offered_by(model_id).await.unwrap().unwrap();
    assert_eq!(offered.version.unwrap().version, version("1.0.0"));
}

#[tokio::test]
async fn a_version_that_is_current_or_needed_is_not_deleted() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let device = bench.device(model_id, "abcd2345").await;
    bench.dump(device, "1.0.0", "PENDING");
    let delete = async |text| {
        FirmwareRepository::delete(&bench.db, model_id, &version(text), &change(200)).await.unwrap()
    };
    assert_eq!(delete("1.1.0").await, VersionDeletion::Current);
    assert_eq!(delete("1.0.0").await, VersionDeletion::NeededByDumps { dumps: 1 });
    assert_eq!(delete("9.9.9").await, VersionDeletion::NotFound);
    assert_eq!(bench.queued(), Vec::<String>::new());

    bench.sql("UPDATE coredumps SET parse_status = 'PARSED'");
    assert_eq!(delete("1.0.0").await, VersionDeletion::Deleted);
    assert_eq!(bench.queued(), paths(&firmware_keys("demo", "1.0.0")));
    assert_eq!(bench.audited().last().unwrap(), "firmware.deleted demo/1.0.0");
}

#[tokio::test]
async fn deleting_a_version_read_from_staging_queues_its_staged_objects_too() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let staged = Set {
        upload: "bb",
        model_id,
        seed: "second",
        objects: PublishedObjects::Staged,
        at: 110,
        ..Set::default()
    };
    bench.publish(&staged).await;
    bench.db.activate(model_id, &version("1.1.0"), &change(120)).await.unwrap();
    let found = bench.version(model_id, "1.0.0").await;
    assert_eq!(found.staging, Some(upload("bb")));
    FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(130)).await.unwrap();
    let mut expected = paths(&firmware_keys("demo", "1.0.0"));
    expected.extend(paths(&staging_keys("bb")));
    assert_eq!(bench.queued(), expected);
}
