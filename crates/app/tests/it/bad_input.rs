//! The table of contract §18, for the parts that are built: the answer to each bad input.

use std::fmt::Write;

use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry, bundle, image};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, raw};

/// A request and its expected answer.
struct Row {
    what: &'static str,
    method: Method,
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    /// A text that the message or the list of faults must contain.
    names: &'static str,
}

fn get(what: &'static str, path: &str, status: u16, code: &'static str) -> Row {
    let path = path.to_owned();
    Row { what, method: Method::GET, path, body: Vec::new(), status, code, names: "" }
}

fn invalid(what: &'static str, method: Method, path: &str, body: &str, names: &'static str) -> Row {
    Row {
        what,
        method,
        path: path.to_owned(),
        body: body.as_bytes().to_vec(),
        status: 400,
        code: "VALIDATION_FAILED",
        names,
    }
}

async fn check(server: &TestServer, rows: Vec<Row>) {
    for row in rows {
        let request = server.request(row.method.clone(), &row.path).body(row.body.clone());
        let answer = server.send(request).await;
        assert_eq!(answer.status, row.status, "{}: {answer:?}", row.what);
        let message = answer.expect_error(row.status, row.code);
        assert!(message.contains(row.names), "{}: {message} names {}", row.what, row.names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_devices() {
    let server = TestServer::start().await;
    server.demo().await;
    let not_found = "RECORD_NOT_FOUND";
    let no_route = "ROUTE_NOT_FOUND";
    let mut rows = vec![
        get("unknown key", "/api/iot/config?device_key=zzzzzzzz", 404, not_found),
        get("malformed key", "/api/iot/config?device_key=NOPE", 404, not_found),
        get("malformed key", "/api/iot/firmware?device_key=NOPE", 404, not_found),
        get("malformed key", "/api/iot/firmware-version?device_key=a%0A", 404, not_found),
        get("empty key", "/api/iot/config?device_key=", 401, "AUTHENTICATION_REQUIRED"),
        get("key not UTF-8", "/api/iot/config?device_key=%ff", 400, "VALIDATION_FAILED"),
        get("path not UTF-8", "/api/devices/%ff", 400, "VALIDATION_FAILED"),
        get("trailing slash", "/api/devices/", 404, no_route),
        get("upper case", "/api/Devices", 404, no_route),
        get("unknown model id", "/api/device-models/99", 404, not_found),
        get("18 digits", "/api/devices/999999999999999999", 404, not_found),
        get("filter", "/api/devices?model_id=x", 400, "VALIDATION_FAILED"),
        get("filter", "/api/devices?model_id=+1", 400, "VALIDATION_FAILED"),
        get("filter", "/api/devices?model_id=", 400, "VALIDATION_FAILED"),
    ];
    for id in ["abc", "-1", "1.0", "1234567890123456789", "+1", "%31a"] {
        rows.push(get("id", &format!("/api/devices/{id}"), 404, no_route));
        rows.push(get("id", &format!("/api/device-models/{id}"), 404, no_route));
    }
    check(&server, rows).await;
    let none = server.get("/api/devices?rotation_state=NONSENSE").await.expect(200).json();
    assert_eq!(none, json!({"count": 0, "devices": []}));
    server.get("/api/devices/%31").await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_bodies() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let models = "/api/device-models";
    let device = format!("/api/devices/{}", demo.device.id);
    let mut rows = Vec::new();
    for body in ["[]", "\"x\"", "{\"code\":", "5", "null", "{\"a\":1}x"] {
        rows.push(invalid("no object", Method::POST, models, body, "body"));
        rows.push(invalid("no object", Method::POST, "/api/devices", body, "body"));
        rows.push(invalid("no object", Method::PUT, &device, body, "body"));
    }
    let not_text = invalid("not UTF-8", Method::POST, models, "", "body");
    rows.push(Row { body: b"{\"code\":\"\xff\"}".to_vec(), ..not_text });
    rows.push(invalid("absent", Method::POST, models, "", "name"));
    rows.push(invalid("absent", Method::POST, "/api/devices", "", "device_model_id"));
    rows.push(invalid("empty", Method::PUT, &device, "{}", "active"));
    for code in ["Abc", "a-b", "", " abc", "abc\\n", "a\\u0000", &"a".repeat(51)] {
        let body = format!(r#"{{"code":"{code}","name":"x"}}"#);
        rows.push(invalid("model code", Method::POST, models, &body, "code"));
    }
    for name in ["  \\t ", "a\\u0000b", &"n".repeat(256)] {
        let body = format!(r#"{{"code":"ok","name":"{name}"}}"#);
        rows.push(invalid("model name", Method::POST, models, &body, "name"));
    }
    for schema in ["\"{\"", "\"5\"", r#""{\"type\":\"nonsense\"}""#, "{}", "\"\""] {
        let body = format!(r#"{{"code":"ok","name":"x","config_schema":{schema}}}"#);
        rows.push(invalid("schema", Method::POST, models, &body, "config_schema"));
    }
    rows.push(invalid(
        "no coercion",
        Method::POST,
        "/api/devices",
        r#"{"device_model_id":"1","config":"{}"}"#,
        "device_model_id",
    ));
    rows.push(invalid(
        "no coercion",
        Method::POST,
        "/api/devices",
        r#"{"device_model_id":1.5,"config":{}}"#,
        "config",
    ));
    rows.push(invalid(
        "no coercion",
        Method::PUT,
        &device,
        r#"{"config":"{}","active":"true"}"#,
        "active",
    ));
    check(&server, rows).await;
    let existing = server.post(models, r#"{"code":"demo","name":"x"}"#).await;
    assert!(existing.expect_error(409, "RECORD_EXISTS").contains("DeviceModel demo"));
    let unknown_model =
        server.post("/api/devices", r#"{"device_model_id":99,"config":"{}"}"#).await;
    assert!(unknown_model.expect_error(404, "RECORD_NOT_FOUND").contains("DeviceModel 99"));
    let large = format!(r#"{{"code":"ok","name":"{}"}}"#, "x".repeat(1 << 20));
    server.post(models, large).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_configurations() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let schema = json!({"code": "strict", "name": "x",
        "config_schema": r#"{"properties":{"led":{"type":"integer"}}}"#});
    let strict = server.post("/api/device-models", schema.to_string()).await.expect(201).json();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(120_000));
    let long_name = format!(r#"{{"deviceName":"{}"}}"#, "n".repeat(256));
    let cases = [
        ("not json", demo.model_id, "config"),
        ("5", demo.model_id, "config"),
        ("[]", demo.model_id, "config"),
        (long.as_str(), demo.model_id, "config"),
        (r#"{"deviceName":5}"#, demo.model_id, "config.deviceName"),
        (&long_name, demo.model_id, "config.deviceName"),
        (r#"{"deviceName":"\u0000"}"#, demo.model_id, "config.deviceName"),
        (r#"{"enableOTA":"yes"}"#, demo.model_id, "config.enableOTA"),
        (r#"{"deviceName":"a","deviceName":"b"}"#, demo.model_id, "config.deviceName"),
        (r#"{"led":"x"}"#, strict["id"].as_i64().unwrap(), "config.led"),
    ];
    for (config, model_id, field) in cases {
        let body = json!({"device_model_id": model_id, "config": config}).to_string();
        let answer = server.post("/api/devices", body).await;
        assert_eq!(answer.json()["details"]["errors"][0]["field"], field, "{answer:?}");
        answer.expect_error(400, "VALIDATION_FAILED");
        if model_id == demo.model_id {
            let body = json!({"active": true, "config": config}).to_string();
            let answer = server.put(&format!("/api/devices/{}", demo.device.id), body).await;
            answer.expect_error(400, "VALIDATION_FAILED");
        }
    }
    server.finish().await;
}

/// Uploads that are refused, each with a text that the message must contain.
fn refused_bundles() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let builder = || BundleBuilder::new("demo", "1.2.3");
    let with_image = |image: Vec<u8>| builder().bin(image).build();
    let renamed =
        |name: &str| builder().without("sdkconfig").append(ZipEntry::new(name, "x")).build();
    let whole = bundle("1.2.3");
    let empty_zip = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
    let mut rows = vec![
        ("raw image", image("1.2.3", 4096), "ZIP"),
        ("empty archive", empty_zip, "ZIP"),
        ("junk before", builder().archive(|zip| zip.prefix(b"MZ junk")).build(), "ZIP"),
        ("truncated", whole[..whole.len() - 30].to_vec(), "damaged"),
        ("multi-disk", builder().archive(|zip| zip.disk(1)).build(), "disks"),
        ("bad CRC", builder().change("demo.map", |entry| entry.crc32(1)).build(), "CRC"),
        ("encrypted", builder().change("demo.map", ZipEntry::encrypted).build(), "encrypted"),
        ("method", builder().change("demo.map", |entry| entry.method(12)).build(), "method 12"),
        ("missing", builder().without("version.json").build(), "version.json"),
        ("extra", builder().append(ZipEntry::new("notes.txt", "x")).build(), "notes.txt"),
        ("duplicate", builder().duplicate("version.json").build(), "version.json"),
        ("directory", builder().append(ZipEntry::new("dir/", "")).build(), "dir/"),
        ("nested", renamed("a/sdkconfig"), "sdkconfig"),
        ("parent", builder().append(ZipEntry::new("../x", "x")).build(), "../x"),
        ("absolute", builder().append(ZipEntry::new("/etc/passwd", "x")).build(), "/etc/passwd"),
        ("back-slash", builder().append(ZipEntry::new("a\\b", "x")).build(), "a\\b"),
        ("287 bytes", with_image(image("1.2.3", 4096)[..287].to_vec()), "288"),
        ("image magic", with_image(ImageBuilder::new("1.2.3", 4096).magic(0).build()), "0xE9"),
        (
            "descriptor magic",
            with_image(ImageBuilder::new("1.2.3", 4096).descriptor_magic(7).build()),
            "0xABCD5432",
        ),
    ];
    for text in ["[]", "5", "{", "{\"git_commit\":1}"] {
        rows.push(("version.json", builder().version_json(text).build(), "version.json"));
    }
    let foreign = builder().version_json(b"\"\xff\"".to_vec()).build();
    rows.push(("version.json", foreign, "version.json"));
    for version in ["", "   ", "../../x", "a/b", "1\u{7}2", ".1", "-1", "1 2"] {
        rows.push(("version", bundle(version), "version must match"));
    }
    let bytes = ImageBuilder::new("1.2.3", 4096).version_bytes(b"1.\xff").build();
    rows.push(("version not UTF-8", with_image(bytes), "version must match"));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_bundles() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    for (what, body, names) in refused_bundles() {
        for path in [
            "/api/pipeline/models/demo/firmware".to_owned(),
            format!("/api/device-models/{}/firmware", demo.model_id),
        ] {
            let answer = server.post(&path, body.clone()).await;
            let message = answer.expect_error(400, "VALIDATION_FAILED");
            assert!(message.contains(names), "{what}: {message} names {names}");
        }
    }
    let empty = server.upload("demo", Vec::new()).await.expect_error(400, "VALIDATION_FAILED");
    assert!(empty.contains("empty"), "{empty}");
    assert!(server.versions(demo.model_id).await.is_empty());
    assert_eq!(server.stored_keys(), Vec::<String>::new());
    let rejected = r#"result="rejected""#;
    let counted = server.metric_where("coredock_firmware_uploads_total", rejected).await;
    assert!(counted > 60, "{counted}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_caps() {
    let settings = [
        ("MAX_FIRMWARE_UPLOAD_BYTES", "200000"),
        ("MAX_FIRMWARE_ENTRY_BYTES", "300000"),
        ("MAX_FIRMWARE_TOTAL_BYTES", "400000"),
    ];
    let server = TestServer::with(&settings).await;
    server.demo().await;
    let builder = || BundleBuilder::new("demo", "1.2.3");
    let entry = builder().map(vec![7; 300_001]).build();
    server.upload("demo", entry).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let total = builder().map(vec![7; 250_000]).sdkconfig(vec![7; 250_000]).build();
    server.upload("demo", total).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let bomb = builder().entry(ZipEntry::bomb("demo.map", 1 << 30)).build();
    assert!(bomb.len() < 3_000_000);
    let body = builder().map(noise(250_000)).build();
    server.upload("demo", body.clone()).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let chunked = format!(
        "POST /api/pipeline/models/demo/firmware HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    let request = [chunked.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let answer = raw::exchange(&server.authority(), &request).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    server.finish().await;
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_without_filling_the_disk() {
    let server = TestServer::start().await;
    server.demo().await;
    let bomb = ZipEntry::bomb("demo.map", 10 << 30);
    let body = BundleBuilder::new("demo", "1.2.3").entry(bomb).build();
    let answer = server.upload("demo", body).await;
    assert!([400, 413].contains(&answer.status), "{answer:?}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_artifacts_in_paths() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0+5").await.expect(200);
    let base = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    for path in ["1.0.0", "1.0.0%2F5", "..%2f", "%2e%2e%2fx", "a%5Cb", "%00", "1.0.0%252B5"] {
        let answer = server.get(&format!("{base}/{path}/artifacts/firmware.bin")).await;
        answer.expect_error(404, "RECORD_NOT_FOUND");
        server.delete(&format!("{base}/{path}")).await.expect_error(404, "RECORD_NOT_FOUND");
        let answer = server.post(&format!("{base}/{path}/activate"), "").await;
        answer.expect_error(404, "RECORD_NOT_FOUND");
    }
    for artifact in ["other", "firmware.bin%2F", "Firmware.bin", "firmware%2Ebin%00"] {
        let answer = server.get(&format!("{base}/1.0.0+5/artifacts/{artifact}")).await;
        answer.expect_error(404, "RECORD_NOT_FOUND");
    }
    for version in ["1.0.0+5", "1.0.0%2B5", "1%2e0.0+5"] {
        let path = format!("{base}/{version}/artifacts/firmware%2Emap");
        let answer = server.get(&path).await.expect(200);
        let disposition = "attachment; filename=demo-1.0.0+5-firmware.map";
        assert_eq!(answer.header("content-disposition"), disposition);
    }
    server.get("/api/pipeline/models/Demo/firmware-version").await.expect(404);
    server.get("/api/pipeline/models/d%65mo/firmware-version").await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_http_gets_an_empty_body() {
    let server = TestServer::start().await;
    let long = "x".repeat(9000);
    let headers = (0..80).fold(String::new(), |mut text, n| {
        write!(text, "X-{n}: {}\r\n", "y".repeat(1000)).unwrap();
        text
    });
    let cases = [
        ("GARBAGE\r\n\r\n".to_owned(), vec!["400"]),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            vec!["414"],
        ),
        (
            format!(
                "GET /health/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
            ),
            vec!["431"],
        ),
    ];
    for (request, statuses) in cases {
        let answer = raw::exchange(&server.authority(), request.as_bytes()).await;
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        assert!(statuses.contains(&status), "{head}");
        assert_eq!(body, "", "{head}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_get_is_read_and_ignored() {
    let server = TestServer::start().await;
    let key = server.demo().await.device.key;
    for body in [Vec::new(), b"x".repeat(60_000)] {
        let mut request = format!(
            "GET /api/iot/config?device_key={key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        let answer = raw::exchange(&server.authority(), &request).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_can_be_read_by_a_caller_that_continues_to_send() {
    let server = TestServer::start().await;
    let large = vec![7_u8; 20 << 20];
    for _ in 0..5 {
        let answer = server.upload("nope", large.clone()).await;
        answer.expect_error(404, "RECORD_NOT_FOUND");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_reveal_nothing_internal() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.rows().execute("ALTER TABLE devices RENAME TO gone");
    let answer = server.get(&format!("/api/devices/{}", demo.device.id)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for inside in ["devices", "SQL", "sqlite", "table", "/tmp", "panicked"] {
        assert!(!text.contains(inside), "{text}");
    }
    server.rows().execute("ALTER TABLE gone RENAME TO devices");
    let error: Value = answer.json();
    assert_eq!(error["code"], "SERVICE_UNAVAILABLE");
    let unavailable = r#"kind="unavailable""#;
    assert!(server.metric_where("coredock_db_errors_total", unavailable).await > 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_query_is_listed() {
    let server = TestServer::start().await;
    let answer = server.get("/api/devices?model_id=x&rotation_state=%ff").await;
    let fields = answer.json()["details"]["errors"].clone();
    assert_eq!(
        (&fields[0]["field"], &fields[1]["field"]),
        (&"model_id".into(), &"rotation_state".into())
    );
    answer.expect_error(400, "VALIDATION_FAILED");
    server.finish().await;
}

/// A caller that continues to send after its multipart body was refused can read the answer,
/// because the body is read to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_multipart_body_is_read_to_its_end() {
    let server = TestServer::start().await;
    server.demo().await;
    let head = "POST /api/pipeline/models/demo/firmware HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: multipart/form-data; boundary=BB\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |text: &[u8]| [format!("{:x}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat();
    let start = b"--BB\r\nContent-Disposition: form-data; name=\"file\"\r\nX: ";
    let mut request = [head.as_bytes(), &chunk(start)].concat();
    (0..60).for_each(|_| request.extend(chunk(&vec![b'a'; 64 * 1024])));
    request.extend(b"0\r\n\r\n");
    for _ in 0..15 {
        let answer = raw::exchange(&server.authority(), &request).await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    }
    server.finish().await;
}
