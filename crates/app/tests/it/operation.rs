//! Health and metrics (contract §14.1, §14.2).

use reqwest::Method;
use serde_json::json;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_works() {
    let server = TestServer::start().await;
    let alive = server.get("/health/healthz").await.expect(200).json();
    assert_eq!(alive, json!({"ready": true, "status": "alive"}));
    let ready = server.get("/health/readyz").await.expect(200).json();
    assert_eq!((&ready["status"], &ready["ready"]), (&json!("ready"), &json!(true)));
    assert_eq!(ready["degraded"], json!([]));
    assert_eq!(ready["database"], json!({"ok": true, "connected": true, "migrations_pending": 0}));
    let kind = if coredock_testkit::production_backends() { "s3" } else { "local" };
    assert_eq!(ready["artifact_store"], json!({"ok": true, "kind": kind, "writable": true}));
    assert!(server.stored_keys().is_empty(), "the probe was deleted");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_degrades_and_fails_readiness_only_if_configured() {
    let server = TestServer::start().await;
    server.store.set_down(true);
    let ready = server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["degraded"], json!(["artifact_store"]));
    server.finish().await;
    let server = TestServer::with(&[("READYZ_STORE_REQUIRED", "true")]).await;
    server.store.set_down(true);
    let ready = server.get("/health/readyz").await.expect(503).json();
    assert_eq!((&ready["status"], &ready["ready"]), (&json!("not ready"), &json!(false)));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_their_names_and_no_sensitive_labels() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let key = &demo.device.key;
    server.get(&format!("/api/iot/firmware?device_key={key}")).await.expect(200);
    server.get("/api/devices/77").await.expect(404);
    let text = server.get("/metrics").await.expect(200);
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    for line in [
        r#"iot_config_operations_total{operation="pipeline_upload_firmware",status="success"} 1"#,
        r#"iot_config_operations_total{operation="get_device",status="error"} 1"#,
        r#"coredock_downloads_total{kind="firmware",outcome="complete"} 1"#,
        r#"coredock_download_bytes_total{kind="firmware"} 4096"#,
        r#"coredock_firmware_uploads_total{result="created"} 1"#,
        r#"coredock_http_requests_total{method="GET",route="/api/devices/{id}",status="404"} 1"#,
        "application_shutting_down 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for name in [
        "coredock_build_info",
        "coredock_outbox_pending",
        "coredock_storage_operations_total",
        "coredock_invariant_violations_total",
        "process_resident_memory_bytes",
        "coredock_db_pool_connections",
        "coredock_stored_bytes",
    ] {
        assert!(text.contains(name), "{name}");
    }
    for sensitive in [key.as_str(), "1.2.3", "device_key"] {
        assert!(!text.contains(sensitive), "{sensitive}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_once_their_request_is_known_to_be_valid() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let (key, model) = (&demo.device.key, format!("/api/device-models/{}", demo.model_id));
    let dump = |key: &str, query: &str| format!("/api/iot/coredump?device_key={key}{query}");
    let parameters = "&chip=esp32&firmware_version=1";
    let (rom, roms) = ("/api/rom-elfs?chip=esp32c6&name=x", "/api/rom-elfs");
    let none = String::new();
    let version = format!("{model}/firmware-versions/1 0");
    // The operation, a request that an extractor refuses, and a request that the handler refuses.
    let cases = [
        ("iot_get_config", Method::GET, "/api/iot/config".into(), none.clone()),
        ("iot_get_config", Method::GET, none.clone(), "/api/iot/config?device_key=no".into()),
        ("iot_upload_coredump", Method::POST, dump(key, ""), dump("aaaaaaaa", parameters)),
        ("list_devices", Method::GET, "/api/devices?model_id=x".into(), none.clone()),
        ("create_device_model", Method::POST, "/api/device-models".into(), none.clone()),
        ("update_device", Method::PUT, format!("/api/devices/{}", demo.device.id), none.clone()),
        ("get_device", Method::GET, none.clone(), "/api/devices/77".into()),
        ("list_fleet_coredumps", Method::GET, "/api/coredumps?limit=0".into(), none.clone()),
        ("list_crash_groups", Method::GET, "/api/crash-groups?cursor=x".into(), none.clone()),
        ("upload_rom_elf", Method::POST, roms.into(), rom.into()),
        ("upload_firmware", Method::POST, none.clone(), format!("{model}/firmware")),
        ("activate_firmware", Method::POST, none.clone(), format!("{version}/activate")),
        ("delete_firmware_version", Method::DELETE, none.clone(), version),
    ];
    for (operation, method, invalid, refused) in cases {
        let name = "iot_config_operations_total";
        let labels = format!(r#"operation="{operation}""#);
        let before = server.metric_where(name, &labels).await;
        for (path, counted) in [(invalid, 0), (refused, 1)] {
            if !path.is_empty() {
                let answer = server.send(server.request(method.clone(), &path)).await;
                assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
                let after = server.metric_where(name, &labels).await;
                assert_eq!(after, before + counted, "{method} {path}");
            }
        }
    }
    let rejected = r#"result="rejected""#;
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", rejected).await, 2);
    server.create_model("other").await;
    let (name, created) =
        ("iot_config_operations_total", r#""create_device_model",status="success""#);
    assert_eq!(server.metric_where(name, created).await, 2);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_be_guarded() {
    let server = TestServer::with(&[("METRICS_TOKEN", "s3cr3t-token")]).await;
    for wrong in ["", "Bearer x", "Basic s3cr3t-token", "s3cr3t-token"] {
        let answer = server.get_with("/metrics", &[("authorization", wrong)]).await;
        answer.expect_error(401, "AUTHENTICATION_REQUIRED");
    }
    let right = [("authorization", "bearer s3cr3t-token")];
    server.get_with("/metrics", &right).await.expect(200);
    server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_never_sends_its_body_does_not_delay_the_shutdown() {
    let server = TestServer::start().await;
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = b"POST /api/nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let head = crate::support::raw::read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let began = std::time::Instant::now();
    server.finish().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}
