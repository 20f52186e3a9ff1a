//! Models and devices (contract §8.1, §8.3) and their audit (§3.8).

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
    assert_eq!(changed["config_schema"], "{}", "absent leaves it");
    let changed = server.put(&path, r#"{"name":null,"config_schema":""}"#).await.expect(200);
    assert_eq!(changed.json()["config_schema"], Value::Null, "empty clears it");
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
async fn deleting_a_model_takes_its_versions_and_their_objects_along() {
    let server = TestServer::start().await;
    let model_id = server.create_model("demo").await;
    server.upload_demo("1.0.0").await.expect(200);
    server.delete(&format!("/api/device-models/{model_id}")).await.expect(204);
    server.wait_for_empty_outbox().await;
    let left = server.stored_keys();
    assert!(left.iter().all(|key| key.starts_with("symbols/")), "{left:?}");
    server.finish().await;
}

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
    assert_eq!(answer.expect(200).json()["deviceName"], device.key, "inactive devices go on");
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
async fn deleting_a_device_takes_its_dumps_along() {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_audited_with_its_origin() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.upload_demo("2.0.0").await.expect(200);
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    server.post(&format!("{versions}/1.0.0/activate"), "").await.expect(200);
    server.post(&format!("{versions}/1.0.0/activate"), "").await.expect(200);
    server.delete(&format!("{versions}/2.0.0")).await.expect(204);
    let device = format!("/api/devices/{}", demo.device.id);
    server.put(&device, r#"{"config":"{}","active":true}"#).await.expect(200);
    server.delete(&device).await.expect(204);
    let model = format!("/api/device-models/{}", demo.model_id);
    server.put(&model, r#"{"name":"x"}"#).await.expect(200);
    let delete = server.request(reqwest::Method::DELETE, &model).header("x-request-id", "the-last");
    server.send(delete.header("x-forwarded-for", "10.0.0.1, 192.0.2.7")).await.expect(204);
    let query = "SELECT action || ' ' || target_type || ' ' || target_id AS value \
                 FROM audit_records ORDER BY id";
    let expected = [
        "model.created DeviceModel 1",
        "device.created Device 1",
        "firmware.uploaded FirmwareVersion demo/1.0.0",
        "firmware.uploaded FirmwareVersion demo/2.0.0",
        "firmware.activated FirmwareVersion demo/1.0.0",
        "firmware.deleted FirmwareVersion demo/2.0.0",
        "device.updated Device 1",
        "device.deleted Device 1",
        "model.updated DeviceModel 1",
        "model.deleted DeviceModel 1",
    ];
    assert_eq!(server.rows().texts(query), expected);
    let query = "SELECT actor_subject || ' ' || actor_kind || ' ' || correlation_id || ' ' \
                 || remote_address || ' ' || outcome AS value FROM audit_records ORDER BY id DESC";
    let last = &server.rows().texts(query)[0];
    assert_eq!(last, "local-user user the-last 192.0.2.7 success");
    server.finish().await;
}
