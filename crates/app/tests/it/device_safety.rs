//! No answer below `/api/iot` can make a device erase its keys (contract §2.4).

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, TestServer};

/// Whether the existing device client would erase its keys: it parses a JSON *prefix* and uses it
/// as its credentials if every top-level value is a text.
fn would_erase_keys(body: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        None | Some(Err(_)) => false,
        Some(Ok(Value::Object(members))) => members.values().all(Value::is_string),
        Some(Ok(Value::Array(items))) => items.is_empty(),
        Some(Ok(_)) => true,
    }
}

#[test]
fn dangerous_bodies_are_recognized() {
    for body in [r#"{"error":"x"}"#, "{}", "[]", "null", "5", "\"x\"", "{} trailing"] {
        assert!(would_erase_keys(body.as_bytes()), "{body}");
    }
    for body in [r#"{"error":"x","details":{}}"#, r#"{"n":1}"#, "<html>", "", "\u{e9}"] {
        assert!(!would_erase_keys(body.as_bytes()), "{body}");
    }
}

#[track_caller]
fn check_safe(answer: &Answer) {
    let shown = String::from_utf8_lossy(&answer.body);
    assert!(!would_erase_keys(&answer.body), "{}: {shown}", answer.status);
    assert!(!(300..400).contains(&answer.status) || answer.status == 304, "{}", answer.status);
}

/// One of the methods, paths, queries and headers that a device could be made to send.
fn arbitrary_request() -> impl Strategy<Value = (Method, String, Vec<(&'static str, String)>)> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::HEAD),
        Just(Method::POST),
        Just(Method::PUT),
        Just(Method::DELETE),
        Just(Method::PATCH),
        Just(Method::OPTIONS),
    ];
    let path = prop_oneof![
        Just("config".to_owned()),
        Just("firmware".to_owned()),
        Just("firmware-version".to_owned()),
        Just("provisioning".to_owned()),
        Just("coredump".to_owned()),
        "[a-z/%0-9.]{0,12}",
    ];
    let query = prop_oneof![
        Just("device_key=KEY".to_owned()),
        Just(String::new()),
        "device_key=[a-z0-9]{0,9}",
        "[a-z_=&%0-9]{0,20}",
    ];
    let range = prop_oneof![
        Just(None),
        "(bytes|items)=[0-9]{0,5}-[0-9]{0,5}".prop_map(|text| Some(("range", text))),
        "(\\*|\"[a-f0-9]{0,4}\")".prop_map(|text| Some(("if-match", text))),
        "(\\*|\"[a-f0-9]{0,4}\")".prop_map(|text| Some(("if-none-match", text))),
    ];
    (method, path, query, range).prop_map(|(method, path, query, header)| {
        (method, format!("/api/iot/{path}?{query}"), header.into_iter().collect())
    })
}

#[test]
fn no_request_gets_a_body_that_erases_keys() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (server, key) = runtime.block_on(async {
        let server = TestServer::start().await;
        let model_id = server.create_model("demo").await;
        let config = r#"{"deviceName":"A","deviceEntityId":"a","n":1}"#;
        let key = server.create_device(model_id, config).await.key;
        server.upload_demo("1.2.3").await.expect(200);
        (server, key)
    });
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    let outcome = runner.run(&arbitrary_request(), |(method, path, headers)| {
        let path = path.replace("KEY", &key);
        let request = server.request(method, &path);
        let request = headers.iter().fold(request, |request, (n, v)| request.header(*n, v));
        let answer = runtime.block_on(server.send(request));
        prop_assert!(!would_erase_keys(&answer.body), "{path}: {:?}", answer.body);
        prop_assert!(answer.status != 500, "{path}: {:?}", answer.body);
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(server.finish());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_a_device_route_can_produce_is_safe() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let key = &demo.device.key;
    let firmware = format!("/api/iot/firmware?device_key={key}");
    check_safe(&server.get("/api/iot/firmware-version").await.expect(401));
    check_safe(&server.get(&firmware).await.expect(404));
    check_safe(&server.get("/api/iot/nope").await.expect(404));
    check_safe(&server.get("/api/iot").await.expect(404));
    check_safe(&server.put(&firmware, "x").await.expect(405));
    check_safe(&server.post("/api/iot/coredump", "x").await.expect(401));
    check_safe(&server.post(&format!("/api/iot/coredump?device_key={key}"), "x").await.expect(400));
    check_safe(&server.post_dump("zzzzzzzz", "1", "x").await.expect(404));
    check_safe(&server.post_dump(key, "1", "").await.expect(400));
    check_safe(&server.post_dump(key, "1", "x").await.expect(201));
    check_safe(&server.get("/api/iot/coredump").await.expect(405));
    check_safe(&server.get("/api/iot/config?device_key=%").await.expect(400));
    let path = format!("/api/iot/firmware-version?device_key={key}");
    check_safe(&server.get(&path).await.expect(200));
    server.upload_demo("1.2.3").await.expect(200);
    check_safe(&server.get(&path).await.expect(200));
    check_safe(&server.get_with(&firmware, &[("range", "bytes=9999-")]).await.expect(416));
    check_safe(&server.get_with(&firmware, &[("if-match", "\"x\"")]).await.expect(412));
    check_safe(&server.get_with(&firmware, &[("if-none-match", "*")]).await.expect(304));
    server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Open));
    check_safe(&server.get(&firmware).await.expect(503));
    server.store.clear_faults();
    server.rows().execute("ALTER TABLE devices RENAME TO gone");
    // Cached reads are valid until the next commit.
    server.post("/api/device-models", r#"{"code":"other","name":"x"}"#).await;
    for route in ["config", "firmware", "firmware-version"] {
        check_safe(&server.get(&format!("/api/iot/{route}?device_key={key}")).await.expect(503));
    }
    server.rows().execute("ALTER TABLE gone RENAME TO devices");
    let corrupt = "UPDATE firmware_versions SET bin_sha256 = 'corrupt'";
    server.rows().execute(corrupt);
    server.create_model("another").await;
    check_safe(&server.get(&path).await.expect(500));
    server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_answered_within_ten_seconds_even_if_the_store_hangs() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let gate = coredock_testkit::gate::Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Open));
    let began = std::time::Instant::now();
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    let answer = server.get(&path).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    check_safe(&answer);
    answer.expect_error(503, "SERVICE_UNAVAILABLE");
    gate.open();
    server.finish().await;
}

/// A device whose socket is reset while it still writes aborts and reboots.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_body_of_a_device_is_read_before_any_answer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::start().await;
    for path in ["/api/iot/coredump", "/api/iot/config", "/api/iot/nope", "/api/iot/%ff"] {
        let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[7; 1000]).await.unwrap();
        let mut byte = [0];
        let early = stream.read(&mut byte);
        let silence = std::time::Duration::from_millis(200);
        assert!(tokio::time::timeout(silence, early).await.is_err(), "{path} was answered early");
        stream.write_all(&[7; 1000]).await.unwrap();
        let head = crate::support::raw::read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 4"), "{path}: {head}");
    }
    server.finish().await;
}
