//! Transactions that fail, are cancelled or wait.

use std::time::Duration;

use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::error::RepositoryError;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::models::model::NewModel;
use coredock_domain::models::repository::ModelRepository;
use coredock_repository::{Database, SqliteOptions};

use crate::support::{Bench, Set, change, code, connect, second, version};
use diesel::connection::SimpleConnection;

#[tokio::test]
async fn a_publication_that_fails_at_its_end_leaves_nothing_visible() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let set = Set { model_id, version: "1.2.0", seed: "1.2.0", at: 110, ..Set::default() };
    bench.begin(&set).await;
    bench.break_inserts("audit_records");
    let error = bench.db.publish(set.publish(), &change(110)).await.unwrap_err();
    let RepositoryError::Unavailable { operation, source } = error else {
        panic!("{error:?}");
    };
    assert_eq!((operation, source.to_string().as_str()), ("publication.publish", "injected"));

    assert_eq!(bench.versions(model_id).await, ["1.0.0", "1.1.0"]);
    let model = ModelRepository::find(&bench.db, model_id).await.unwrap().unwrap();
    assert_eq!(model.summary.firmware_version.as_deref(), Some("1.1.0"));
    assert_eq!(bench.queued(), Vec::<String>::new());

    bench.mend_inserts("audit_records");
    assert!(bench.commit(&set).await.is_some(), "the lease is still held, the retry succeeds");
}

#[tokio::test]
async fn a_delete_that_fails_at_its_end_deletes_and_queues_nothing() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["1.0.0", "1.1.0"]).await;
    let device = bench.device(model_id, "abcd2345").await;
    bench.dump(device, "1.0.0", "PARSED");
    bench.break_inserts("audit_records");
    assert!(DeviceRepository::delete(&bench.db, device, &change(9)).await.is_err());
    let deletion =
        FirmwareRepository::delete(&bench.db, model_id, &version("1.0.0"), &change(9)).await;
    assert!(deletion.is_err());
    assert!(DeviceRepository::find(&bench.db, device).await.unwrap().is_some());
    assert_eq!(bench.versions(model_id).await, ["1.0.0", "1.1.0"]);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_write_leaves_nothing_and_the_next_write_succeeds() {
    let bench = Bench::new().await;
    for attempt in 0..40 {
        let model = NewModel {
            code: code(&format!("cancelled_{attempt}")),
            name: "cancelled".into(),
            config_schema: None,
        };
        let change = change(1);
        let writing = ModelRepository::create(&bench.db, model, &change);
        // The time ends anywhere between the first statement and the commit.
        let _ = tokio::time::timeout(Duration::from_micros(attempt * 50), writing).await;
    }
    bench.model("finished").await;
    let rows = bench.lines("SELECT code AS line FROM device_models ORDER BY id");
    assert_eq!(rows.last().unwrap(), "finished");
    let audited = bench.audited();
    assert_eq!(audited.len(), rows.len(), "a model and its audit record, or neither");
}

#[tokio::test]
async fn the_wait_for_the_writing_connection_is_limited() {
    let bench = Bench::sqlite().await;
    let options = SqliteOptions { readers: 1, wait: Duration::from_millis(50) };
    let db = Database::open_sqlite(&bench.file(), options).await.unwrap();
    let mut blocker = connect(&bench.file());
    blocker.batch_execute("BEGIN IMMEDIATE").unwrap();
    let write = |model: &str| NewModel { code: code(model), name: "x".into(), config_schema: None };
    let change = change(1);
    let first = ModelRepository::create(&db, write("one"), &change);
    let second = async {
        let second = ModelRepository::create(&db, write("two"), &change).await;
        blocker.batch_execute("ROLLBACK").unwrap();
        second
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok(), "the first write had the connection and waited for the file");
    assert!(matches!(second, Err(RepositoryError::Unavailable { operation: "model.create", .. })));
}

#[tokio::test]
async fn reads_do_not_wait_for_a_write() {
    let bench = Bench::sqlite().await;
    let model_id = bench.model("demo").await;
    let mut writer = connect(&bench.file());
    writer.batch_execute("BEGIN IMMEDIATE; UPDATE device_models SET name = 'new'").unwrap();
    let model = ModelRepository::find(&bench.db, model_id).await.unwrap().unwrap();
    assert_eq!(model.summary.name, "demo");
    writer.batch_execute("COMMIT").unwrap();
    assert_eq!(model.created_at, second(1));
}
