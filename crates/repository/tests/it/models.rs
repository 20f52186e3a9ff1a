use coredock_domain::error::RepositoryError;
use coredock_domain::models::model::{ModelUpdate, NewModel};
use coredock_domain::models::repository::ModelDeletion;
use coredock_domain::models::repository::ModelRepository;

use crate::support::{Bench, change, code, firmware_keys, paths, second};

#[tokio::test]
async fn a_model_reads_back_as_it_was_created_and_changed() {
    let bench = Bench::new().await;
    let new =
        NewModel {
            code: code("demo"), name: "Größe 5".into(), config_schema: Some("{ }".into())
        };
    let created = bench.db.create(new, &change(3)).await.unwrap();
    let id = created.summary.id;
    assert_eq!(created.created_at, second(3));
    assert!(created.summary.has_config_schema);
    assert_eq!(bench.db.find(id).await.unwrap().unwrap(), created);
    assert_eq!(bench.db.find_by_code(&code("demo")).await.unwrap().unwrap(), created);

    let update = ModelUpdate { name: None, config_schema: Some(None) };
    let updated = bench.db.update(id, update, &change(4)).await.unwrap().unwrap();
    assert_eq!(updated.summary.name, "Größe 5");
    assert_eq!(updated.config_schema, None);
    assert_eq!((updated.created_at, updated.updated_at), (second(3), second(4)));
    assert_eq!(bench.audited(), [format!("model.created {id}"), format!("model.updated {id}")]);
}

#[tokio::test]
async fn a_taken_code_is_a_conflict_and_leaves_no_audit_record() {
    let bench = Bench::new().await;
    bench.model("demo").await;
    let again = NewModel { code: code("demo"), name: "again".into(), config_schema: None };
    let conflict = bench.db.create(again, &change(2)).await;
    assert!(matches!(conflict, Err(RepositoryError::Conflict)));
    assert_eq!(bench.audited().len(), 1);
}

#[tokio::test]
async fn a_missing_model_is_none() {
    let bench = Bench::new().await;
    assert_eq!(ModelRepository::find(&bench.db, 7).await.unwrap(), None);
    assert_eq!(bench.db.find_by_code(&code("none")).await.unwrap(), None);
    let update = ModelUpdate::default();
    let updated = ModelRepository::update(&bench.db, 7, update, &change(1)).await.unwrap();
    assert_eq!(updated, None);
    let deletion = ModelRepository::delete(&bench.db, 7, &change(1)).await.unwrap();
    assert_eq!(deletion, ModelDeletion::NotFound);
    assert_eq!(bench.audited(), Vec::<String>::new());
}

#[tokio::test]
async fn a_model_in_use_is_not_deleted() {
    let bench = Bench::new().await;
    let id = bench.model("demo").await;
    bench.device(id, "aaaaaaa1").await;
    bench.device(id, "aaaaaaa2").await;
    let deletion = ModelRepository::delete(&bench.db, id, &change(2)).await.unwrap();
    assert_eq!(deletion, ModelDeletion::InUse { devices: 2 });
}

#[tokio::test]
async fn deleting_a_model_deletes_its_versions_and_queues_their_objects() {
    let bench = Bench::new().await;
    let id = bench.model("demo").await;
    bench.publish_all(id, &["1.0.0", "1.1.0"]).await;
    let deletion = ModelRepository::delete(&bench.db, id, &change(200)).await.unwrap();
    assert_eq!(deletion, ModelDeletion::Deleted);
    let mut expected = paths(&firmware_keys("demo", "1.0.0"));
    expected.extend(paths(&firmware_keys("demo", "1.1.0")));
    assert_eq!(bench.queued(), expected);
    let touched = bench.instant_text("last_referenced_at");
    let touched = bench.lines(&format!("SELECT DISTINCT {touched} AS line FROM known_builds"));
    assert_eq!(touched, [second(200).to_string()]);
}

#[tokio::test]
async fn an_id_is_never_reused() {
    let bench = Bench::new().await;
    let first = bench.model("first").await;
    ModelRepository::delete(&bench.db, first, &change(2)).await.unwrap();
    assert!(bench.model("second").await > first);
}

#[tokio::test]
async fn the_list_is_one_statement_in_byte_order_with_device_counts() {
    let bench = Bench::new().await;
    for model in ["b_", "ba", "a"] {
        bench.model(model).await;
    }
    bench.device(1, "aaaaaaa1").await;
    let before = bench.db.statement_count();
    let list = ModelRepository::list(&bench.db).await.unwrap();
    assert_eq!(bench.db.statement_count() - before, 1);
    let lines: Vec<_> =
        list.iter().map(|model| (model.code.as_str(), model.device_count)).collect();
    assert_eq!(lines, [("a", 0), ("b_", 1), ("ba", 0)]);
}

#[tokio::test]
async fn an_impossible_value_names_its_column() {
    let bench = Bench::sqlite().await;
    let id = bench.model("demo").await;
    bench.sql("UPDATE device_models SET created_at = 'yesterday'");
    let error = ModelRepository::find(&bench.db, id).await.unwrap_err();
    let column = "column created_at of table device_models holds an impossible value";
    assert_eq!(error.to_string(), column);
}
