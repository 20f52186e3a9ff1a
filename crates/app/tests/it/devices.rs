//! Devices (contract §8.3).

mod stale_config;

use serde_json::{Value, json};

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_created_changed_and_deleted() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let config = " {\"deviceName\":\"A\", \"enableOTA\":false} ";
    let device = server.create_device(demo.model_id, config).await;
    assert!(device.key.bytes().all(|byte| b"abcdefghijklmnopqrstuvwxyz234567".contains(&byte)));
    let path = format!("/api/devices/{}", device.id);
    let full = server.get(&path).await.expect(200).json();
    assert_eq!(full["config"], config, "byte for byte");
    assert_eq!(full["device_name"], "A");
    assert_eq!(full["device_entity_id"], Value::Null);
    assert_eq!(full["enable_ota"], false);
    assert_eq!(full["client_id"], format!("iotdevice-demo-{}", device.key));
    assert_eq!(full["rotation_state"], "OK");
    assert_eq!(full["active"], true);
    assert_eq!(full["config_warnings"].as_array().unwrap().len(), 1);
    assert_eq!(full["device_model"]["code"], "demo");
    let body = json!({"config": r#"{"deviceEntityId":"e"}"#, "active": false}).to_string();
    let changed = server.put(&path, body).await.expect(200).json();
    assert_eq!((&changed["active"], &changed["device_entity_id"]), (&json!(false), &json!("e")));
    assert_eq!(changed["device_name"], Value::Null);
    let answer = server.get(&format!("/api/iot/config?device_key={}", device.key)).await;
    assert_eq!(
        answer.expect(200).json()["deviceName"],
        device.key,
        "inactive devices are served too"
    );
    server.delete(&path).await.expect(204);
    server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_listed_by_key_and_filtered() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_model("other").await;
    let stranger = server.create_device(other, "{}").await;
    server.create_device(demo.model_id, "{}").await;
    let dump = server.deliver(&stranger.key, "1", "dump").await;
    let dump = server.dump(stranger.id, dump).await;
    let listed = server.get("/api/devices").await.expect(200).json();
    let keys: Vec<&str> =
        listed["devices"].as_array().unwrap().iter().map(|d| d["key"].as_str().unwrap()).collect();
    assert!(keys.is_sorted() && keys.len() == 3, "{keys:?}");
    let filtered = server.get(&format!("/api/devices?model_id={other}")).await.expect(200).json();
    assert_eq!(filtered["count"], 1);
    assert_eq!(filtered["devices"][0]["key"], stranger.key);
    assert_eq!(filtered["devices"][0]["last_coredump_at"], dump["uploaded_at"]);
    let ok = server.get("/api/devices?rotation_state=OK").await.expect(200).json();
    assert_eq!(ok["count"], 3);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_device_deletes_its_dumps() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    let key = format!("coredumps/{}/{id}.dmp", demo.device.key);
    assert!(server.stored_keys().contains(&key));
    server.delete(&format!("/api/devices/{}", demo.device.id)).await.expect(204);
    server.wait_for_empty_outbox().await;
    assert!(!server.stored_keys().contains(&key));
    assert_eq!(server.rows().count("coredumps", "1=1"), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_must_fit_the_schema_of_its_model_only_when_it_is_saved() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let schema = json!({"config_schema": r#"{"required":["led"]}"#}).to_string();
    server.put(&format!("/api/device-models/{}", demo.model_id), schema).await.expect(200);
    let path = format!("/api/devices/{}", demo.device.id);
    server.get(&path).await.expect(200);
    let refused = server.put(&path, r#"{"config":"{}","active":true}"#).await;
    refused.expect_error(400, "VALIDATION_FAILED");
    let accepted = server.put(&path, r#"{"config":"{\"led\":1}","active":true}"#).await;
    accepted.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_and_verbatim_configurations() {
    let server = TestServer::with(&[("DEVICE_CONFIG_MODE", "strict")]).await;
    let model_id = server.create_model("demo").await;
    let body = json!({"device_model_id": model_id, "config": "{}"}).to_string();
    let message = server.post("/api/devices", body).await.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("config.deviceName"), "{message}");
    server.finish().await;
    let server = TestServer::with(&[("DEVICE_CONFIG_MODE", "verbatim")]).await;
    let demo = server.demo().await;
    let answer = server.get(&format!("/api/iot/config?device_key={}", demo.device.key)).await;
    assert_eq!(answer.expect(200).body, "{}");
    server.finish().await;
}
