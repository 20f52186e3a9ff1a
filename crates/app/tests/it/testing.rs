//! The routes of testing mode (contract §17).

use serde_json::json;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_test_bench_can_add_dumps() {
    let server = TestServer::with(&[("COREDOCK_ENV", "testing"), ("MAX_COREDUMPS", "2")]).await;
    let demo = server.demo().await;
    let seed = |body: serde_json::Value| server.post("/api/testing/coredumps", body.to_string());
    let made = seed(json!({"device_id": demo.device.id})).await.expect(201).json();
    assert_eq!(
        (&made["chip"], &made["firmware_version"]),
        (&"esp32s3".into(), &"0.0.0-test".into())
    );
    assert_eq!((&made["size"], &made["parse_status"]), (&262_144.into(), &"PARSED".into()));
    assert!(made["parsed_at"].is_string() && made["parsed_output"].is_string(), "{made}");
    let again =
        seed(json!({"device_id": demo.device.id, "parse_status": "PENDING", "size": 262_144}));
    let again = again.await.expect(201).json();
    assert_ne!(again["id"], made["id"], "made-up dumps are never the same");
    assert!(again["parsed_at"].is_null() && again["parsed_output"].is_null(), "{again}");
    let report = server.report(demo.device.id, again["id"].as_i64().unwrap()).await;
    assert!(report["next_attempt_at"].is_null(), "no worker ever claims it");
    let given = json!({"device_id": demo.device.id, "parse_status": "ERROR", "parsed_output": "no",
        "chip": "ESP32", "firmware_version": "1 2", "size": 1});
    let given = seed(given).await.expect(201).json();
    assert_eq!((&given["parsed_output"], &given["chip"]), (&"no".into(), &"esp32".into()));
    assert_eq!(server.dump_ids(demo.device.id).await.len(), 2);
    seed(json!({"device_id": 99})).await.expect_error(404, "RECORD_NOT_FOUND");
    for bad in [
        json!({}),
        json!({"device_id": demo.device.id, "parse_status": "DONE"}),
        json!({"device_id": demo.device.id, "size": 0}),
        json!({"device_id": demo.device.id, "size": 16_777_217}),
        json!({"device_id": demo.device.id, "chip": "a;b"}),
    ] {
        seed(bad).await.expect_error(400, "VALIDATION_FAILED");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_testing_mode_do_not_answer_outside_of_it() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let body = json!({"device_id": demo.device.id}).to_string();
    server.post("/api/testing/coredumps", body).await.expect_error(400, "ROUTE_NOT_AVAILABLE");
    server.post("/api/testing/coredumps", "[]").await.expect_error(400, "ROUTE_NOT_AVAILABLE");
    server.finish().await;
}
