use coredock_domain::devices::device::{DeviceFilter, DeviceUpdate, NewDevice, RotationState};
use coredock_domain::devices::repository::{DeviceRepository, StoredConfig};
use coredock_domain::error::RepositoryError;

use crate::support::{Bench, change, code, config, device_key, second};

#[tokio::test]
async fn a_device_reads_back_as_it_was_created_and_changed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let text = "{ \"a\" : 1.0 }\n";
    let new = NewDevice { key: device_key("abcd2345"), model_id, config: config(text) };
    let created = bench.db.create(new, &change(3)).await.unwrap().unwrap();
    assert!(created.active);
    assert_eq!(created.rotation_state, RotationState::Ok);
    assert_eq!(created.config, config(text));
    assert_eq!(created.model.code.as_str(), "demo");
    assert_eq!(bench.db.find(created.id).await.unwrap().unwrap(), created);
    let stored = bench.db.stored_config(&device_key("abcd2345")).await.unwrap();
    assert_eq!(stored, Some(StoredConfig { model: code("demo"), text: text.to_owned() }));

    let mut config = config("{}");
    config.enable_ota = None;
    let update = DeviceUpdate { config: config.clone(), active: false };
    let updated = bench.db.update(created.id, update, &change(4)).await.unwrap().unwrap();
    assert_eq!((updated.config, updated.active), (config, false));
    assert_eq!((updated.created_at, updated.updated_at), (second(3), second(4)));
}

#[tokio::test]
async fn a_device_needs_a_model_and_a_free_key() {
    let bench = Bench::new().await;
    let orphan = NewDevice { key: device_key("abcd2345"), model_id: 7, config: config("{}") };
    assert_eq!(bench.db.create(orphan, &change(1)).await.unwrap(), None);
    assert_eq!(bench.audited(), Vec::<String>::new());

    let model_id = bench.model("demo").await;
    bench.device(model_id, "abcd2345").await;
    let twin = NewDevice { key: device_key("abcd2345"), model_id, config: config("{}") };
    let conflict = bench.db.create(twin, &change(1)).await;
    assert!(matches!(conflict, Err(RepositoryError::Conflict)));
}

#[tokio::test]
async fn a_missing_device_is_none() {
    let bench = Bench::new().await;
    assert_eq!(DeviceRepository::find(&bench.db, 7).await.unwrap(), None);
    assert_eq!(bench.db.stored_config(&device_key("abcd2345")).await.unwrap(), None);
    let update = DeviceUpdate { config: config("{}"), active: true };
    let updated = DeviceRepository::update(&bench.db, 7, update, &change(1)).await.unwrap();
    assert_eq!(updated, None);
    assert!(!DeviceRepository::delete(&bench.db, 7, &change(1)).await.unwrap());
    assert_eq!(bench.audited(), Vec::<String>::new());
}

#[tokio::test]
async fn deleting_a_device_deletes_its_dumps_and_queues_their_objects() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let doomed = bench.device(model_id, "aaaaaaa1").await;
    let other = bench.device(model_id, "aaaaaaa2").await;
    let first = bench.dump(doomed, "1.0.0", "PENDING");
    let spared = bench.dump(other, "1.0.0", "PENDING");
    let second = bench.dump(doomed, "1.0.0", "ERROR");
    assert!(DeviceRepository::delete(&bench.db, doomed, &change(9)).await.unwrap());
    let expected =
        [format!("coredumps/aaaaaaa1/{first}.dmp"), format!("coredumps/aaaaaaa1/{second}.dmp")];
    assert_eq!(bench.queued(), expected);
    let left = bench.lines("SELECT CAST(id AS text) AS line FROM coredumps");
    assert_eq!(left, [spared.to_string()]);
    assert_eq!(bench.audited().last().unwrap(), &format!("device.deleted {doomed}"));
}

#[tokio::test]
async fn thousands_of_dumps_are_queued_in_a_few_statements() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let id = bench.device(model_id, "aaaaaaa1").await;
    bench.dump(id, "1.0.0", "PARSED");
    bench.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2499) \
         INSERT INTO coredumps (device_id, chip, firmware_version, size, uploaded_at, created_at, \
         updated_at) SELECT device_id, chip, firmware_version, size, uploaded_at, created_at, \
         updated_at FROM coredumps, n",
    );
    let before = bench.db.statement_count();
    assert!(DeviceRepository::delete(&bench.db, id, &change(9)).await.unwrap());
    assert!(bench.db.statement_count() - before < 12);
    assert_eq!(bench.queued().len(), 2500);
}

#[tokio::test]
async fn the_list_filters_and_shows_the_newest_dump() {
    let bench = Bench::new().await;
    let (one, two) = (bench.model("one").await, bench.model("two").await);
    let first = bench.device(one, "bbbbbbb1").await;
    let queued = bench.device(one, "aaaaaaa1").await;
    bench.device(two, "ccccccc1").await;
    bench.dump(first, "1.0.0", "PARSED");
    bench.sql(&format!("UPDATE devices SET rotation_state = 'QUEUED' WHERE id = {queued}"));
    let keys = async |filter| {
        let list = DeviceRepository::list(&bench.db, filter).await.unwrap();
        list.into_iter().map(|device| device.key.to_string()).collect::<Vec<_>>()
    };
    let all = DeviceFilter::default();
    assert_eq!(keys(all).await, ["aaaaaaa1", "bbbbbbb1", "ccccccc1"]);
    assert_eq!(keys(DeviceFilter { model_id: Some(two), ..all }).await, ["ccccccc1"]);
    let in_queue = DeviceFilter { rotation_state: Some(RotationState::Queued), ..all };
    assert_eq!(keys(in_queue).await, ["aaaaaaa1"]);

    let list = DeviceRepository::list(&bench.db, all).await.unwrap();
    assert_eq!(list[0].last_coredump_at, None);
    assert_eq!(list[1].last_coredump_at, Some(second(50)));
}

#[tokio::test]
async fn the_list_costs_one_statement_for_10_and_for_500_devices() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    for devices in [10, 500] {
        bench.sql("DELETE FROM devices");
        bench.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {devices}) \
             INSERT INTO devices (key, device_model_id, config, active, created_at, updated_at) \
             SELECT {key}, {model_id}, '{{}}', TRUE, {at}, {at} FROM n",
            key = bench.digits("i", 8),
            at = bench.instant(&format!("'{}'", second(0)))
        ));
        let before = bench.db.statement_count();
        let list = DeviceRepository::list(&bench.db, DeviceFilter::default()).await.unwrap();
        assert_eq!((list.len(), bench.db.statement_count() - before), (devices, 1));
    }
}
