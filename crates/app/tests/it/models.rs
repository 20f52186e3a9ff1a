//! Models (contract §8.1).

use serde_json::{Value, json};

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_created_changed_and_deleted() {
    let server = TestServer::start().await;
    let body = json!({"code": "demo", "name": " Demo ", "config_schema": "{}"}).to_string();
    let created = server.post("/api/device-models", body).await.expect(201).json();
    assert_eq!(created["name"], "Demo", "texts are trimmed");
    assert_eq!(created["has_config_schema"], true);
    assert_eq!(created["created_at"].as_str().unwrap().len(), 27);
    let path = format!("/api/device-models/{}", created["id"]);
    let changed = server.put(&path, r#"{"name":"Other","code":"ignored"}"#).await.expect(200);
    let changed = changed.json();
    assert_eq!((&changed["name"], &changed["code"]), (&json!("Other"), &json!("demo")));
    assert_eq!(changed["config_schema"], "{}", "an absent member changes nothing");
    let changed = server.put(&path, r#"{"name":null,"config_schema":""}"#).await.expect(200);
    assert_eq!(changed.json()["config_schema"], Value::Null, "an empty schema removes it");
    assert_eq!(server.get(&path).await.expect(200).json()["name"], "Other");
    server.delete(&path).await.expect(204);
    server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    server.delete(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_by_code_with_their_devices_counted() {
    let server = TestServer::start().await;
    for code in ["b", "a_2", "a1"] {
        server.create_model(code).await;
    }
    server.create_device(1, "{}").await;
    let listed = server.get("/api/device-models").await.expect(200).json();
    let codes: Vec<&Value> =
        listed["device_models"].as_array().unwrap().iter().map(|model| &model["code"]).collect();
    assert_eq!(codes, ["a1", "a_2", "b"]);
    assert_eq!(listed["count"], 3);
    assert_eq!(listed["device_models"][2]["device_count"], 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_model_deletes_its_versions_and_their_objects() {
    let server = TestServer::start().await;
    let model_id = server.create_model("demo").await;
    server.upload_demo("1.0.0").await.expect(200);
    server.delete(&format!("/api/device-models/{model_id}")).await.expect(204);
    server.wait_for_empty_outbox().await;
    let left = server.stored_keys();
    assert!(left.iter().all(|key| key.starts_with("symbols/")), "{left:?}");
    server.finish().await;
}
