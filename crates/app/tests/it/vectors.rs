//! The wire test vectors of contract §19.

use std::ops::RangeInclusive;

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry, bundle, elf0, image};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Answer, TestDevice, TestServer};

const ELF0: &str = "f1b0a36cec27b90029c4cd36c1f9eb8cd40743ccbdf9e3d2a8773b92e86fdb4c";
const IMG_4096: &str = "fe50d20daebeaf9b07b08e6826c0258cc016546badd13be527bfb3ee71d4e253";

/// A server with `demo`, its device and version 1.2.3; and the device's firmware path.
async fn with_firmware() -> (TestServer, String) {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    (server, format!("/api/iot/firmware?device_key={}", demo.device.key))
}

fn firmware_keys(version: &str) -> Vec<String> {
    ["firmware.bin", "firmware.elf", "firmware.map", "sdkconfig", "version.json"]
        .iter()
        .map(|name| format!("firmware/demo/{version}/{name}"))
        .collect()
}

fn fields(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["details"]["errors"].clone();
    let field = |error: &Value| error["field"].as_str().unwrap().to_owned();
    errors.as_array().unwrap().iter().map(field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_no_version_before_any_upload() {
    let server = TestServer::start().await;
    let key = server.demo().await.device.key;
    let path = format!("/api/iot/firmware-version?device_key={key}");
    let answer = server.get(&path).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-cache");
    let body = answer.json();
    for member in ["firmware_version", "size", "sha256", "elf_sha256"] {
        assert_eq!(body.get(member), Some(&Value::Null), "{member}");
    }
    assert!((270..=330).contains(&body["next_poll_s"].as_u64().unwrap()));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_no_firmware_before_any_upload() {
    let server = TestServer::start().await;
    let key = server.demo().await.device.key;
    let answer = server.get(&format!("/api/iot/firmware?device_key={key}")).await;
    answer.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_an_upload_creates_the_version_and_its_objects() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let answer = server.upload_demo("1.2.3").await.expect(200).json();
    assert_eq!(
        answer,
        json!({"code": "demo", "firmware_version": "1.2.3", "id": demo.model_id,
            "result": "created", "size": 4096, "sha256": IMG_4096, "elf_sha256": ELF0})
    );
    let mut expected = firmware_keys("1.2.3");
    expected.push(format!("symbols/{ELF0}/firmware.elf"));
    assert_eq!(server.stored_keys(), expected);
    assert_eq!(server.object("firmware/demo/1.2.3/firmware.bin"), image("1.2.3", 4096));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_the_same_set_again_rewrites_nothing() {
    let (server, _) = with_firmware().await;
    server.store.clear_calls();
    let answer = server.upload_demo("1.2.3").await.expect(200).json();
    assert_eq!(answer["result"], "unchanged");
    assert_eq!(server.store.count(Operation::Put), 0);
    assert_eq!(server.store.count(Operation::Copy), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_another_map_replaces_the_set() {
    let (server, _) = with_firmware().await;
    let other = BundleBuilder::new("demo", "1.2.3").map("another map").build();
    let answer = server.upload("demo", other).await.expect(200).json();
    assert_eq!(answer["result"], "replaced");
    assert_eq!(server.object("firmware/demo/1.2.3/firmware.map"), b"another map");
    server.wait_for_empty_outbox().await;
    let mut expected = firmware_keys("1.2.3");
    expected.push(format!("symbols/{ELF0}/firmware.elf"));
    assert_eq!(server.stored_keys(), expected, "staging was deleted");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_multipart_needs_one_part_named_file() {
    let server = TestServer::start().await;
    server.demo().await;
    let path = "/api/pipeline/models/demo/firmware";
    let send = |form: Form| server.send(server.request(Method::POST, path).multipart(form));
    let part = || Part::bytes(bundle("1.2.3"));
    send(Form::new().part("file", part())).await.expect(200);
    send(Form::new().part("zip", part())).await.expect_error(400, "VALIDATION_FAILED");
    let twice = Form::new().part("file", part()).part("file", part());
    send(twice).await.expect_error(400, "VALIDATION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v7_an_unknown_model_is_answered_without_the_body() {
    let server = TestServer::start().await;
    let request = format!(
        "POST /api/pipeline/models/nope/firmware HTTP/1.1\r\nHost: {}\r\n\
         Content-Length: 50000000\r\n\r\n",
        server.authority()
    );
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let head = crate::support::raw::read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let message =
        server.upload("nope", bundle("1.2.3")).await.expect_error(404, "RECORD_NOT_FOUND");
    assert!(message.contains("DeviceModel nope"), "{message}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v8_v9_a_download_has_the_headers_devices_rely_on_and_head_has_the_same() {
    let (server, path) = with_firmware().await;
    let full = server.get(&path).await.expect(200);
    let head = server.head(&path).await.expect(200);
    assert_eq!(full.body, image("1.2.3", 4096));
    assert!(head.body.is_empty());
    for answer in [&full, &head] {
        assert_eq!(answer.header("content-length"), "4096");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("etag"), format!("\"{IMG_4096}\""));
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=firmware-demo.bin");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("x-firmware-version"), "1.2.3");
        assert_eq!(answer.header("x-firmware-sha256"), IMG_4096);
        assert!(answer.header("last-modified").ends_with(" GMT"));
        assert_eq!(answer.header("transfer-encoding"), "");
        assert_eq!(answer.header("content-encoding"), "");
    }
    server.finish().await;
}

/// Requests a range and checks status, `Content-Range` and bytes.
async fn check_range(
    server: &TestServer,
    path: &str,
    range: &str,
    expected: Option<RangeInclusive<u64>>,
) {
    let answer = server.get_with(path, &[("range", range)]).await;
    let whole = image("1.2.3", 4096);
    match expected {
        Some(range) => {
            let (first, last) = range.into_inner();
            let answer = answer.expect(206);
            assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/4096"));
            let bytes = usize::try_from(first).unwrap()..=usize::try_from(last).unwrap();
            assert_eq!(answer.header("content-length"), (last - first + 1).to_string());
            assert_eq!(answer.body, whole[bytes], "{first}-{last}");
        }
        None => assert_eq!(answer.expect(200).body, whole, "{range}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v10_to_v15_ranges() {
    let (server, path) = with_firmware().await;
    check_range(&server, &path, "bytes=0-0", Some(0..=0)).await;
    check_range(&server, &path, "bytes=0-", Some(0..=4095)).await;
    check_range(&server, &path, "bytes=2048-4096", Some(2048..=4095)).await;
    check_range(&server, &path, "bytes=4000-99999", Some(4000..=4095)).await;
    check_range(&server, &path, "bytes=-16", Some(4080..=4095)).await;
    check_range(&server, &path, "bytes=0-9,20-29", None).await;
    check_range(&server, &path, "bytes=9-1", None).await;
    let beyond = server.get_with(&path, &[("range", "bytes=4096-")]).await;
    assert_eq!(beyond.header("content-range"), "bytes */4096");
    beyond.expect_error(416, "RANGE_NOT_SATISFIABLE");
    let head = server.request(Method::HEAD, &path).header("range", "bytes=0-9");
    server.send(head).await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v16_v17_conditions_come_before_ranges() {
    let (server, path) = with_firmware().await;
    let etag = format!("\"{IMG_4096}\"");
    let weak = format!("W/{etag}");
    let range = ("range", "bytes=10-19");
    for tag in [etag.as_str(), weak.as_str(), "*", &format!("\"x\", {etag}")] {
        let answer = server.get_with(&path, &[("if-none-match", tag), range]).await.expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), etag);
    }
    server.get_with(&path, &[("if-range", &etag), range]).await.expect(206);
    server.get_with(&path, &[("if-range", "\"0000\""), range]).await.expect(200);
    let modified = server.get(&path).await.header("last-modified").to_owned();
    server.get_with(&path, &[("if-range", &modified), range]).await.expect(206);
    server.get_with(&path, &[("if-modified-since", &modified)]).await.expect(304);
    server.get_with(&path, &[("if-match", &etag)]).await.expect(200);
    let other = server.get_with(&path, &[("if-match", "\"0000\"")]).await;
    other.expect_error(412, "PRECONDITION_FAILED");
    let past = [("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")];
    server.get_with(&path, &past).await.expect_error(412, "PRECONDITION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v18_v19_entries_must_be_the_five_each_once() {
    let server = TestServer::start().await;
    server.demo().await;
    let builder = || BundleBuilder::new("demo", "1.2.3");
    let missing = builder().without("demo.elf").without("sdkconfig").build();
    let message = server.upload("demo", missing).await.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("demo.elf, sdkconfig"), "{message}");
    let extra = builder().append(ZipEntry::new("zz", "")).append(ZipEntry::new("dir/", "")).build();
    let message = server.upload("demo", extra).await.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("dir/, zz"), "{message}");
    let twice = builder().duplicate("demo.bin").build();
    let message = server.upload("demo", twice).await.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("duplicate") && message.contains("demo.bin"), "{message}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v20_the_image_must_come_from_the_elf_of_the_bundle() {
    let server = TestServer::start().await;
    server.demo().await;
    let with_hash = |version: &str, hash: [u8; 32]| {
        let image = ImageBuilder::new(version, 4096).elf_sha256(hash).build();
        BundleBuilder::new("demo", version).bin(image).build()
    };
    server.upload("demo", with_hash("1.0.0", [0; 32])).await.expect(200);
    let mut hash = *coredock_domain::digest::Sha256Digest::of(&elf0()).bytes();
    hash[31] ^= 1;
    let refused = server.upload("demo", with_hash("1.0.1", hash)).await;
    let message = refused.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains(ELF0), "{message}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v21_version_texts() {
    let server = TestServer::start().await;
    server.demo().await;
    server.upload_demo("1.0.0+5").await.expect(200);
    assert!(server.stored_keys().contains(&"firmware/demo/1.0.0+5/firmware.bin".to_owned()));
    server.upload_demo("1.0 0").await.expect_error(400, "VALIDATION_FAILED");
    server.upload_demo(&"9".repeat(32)).await.expect(200);
    let message = server.upload_demo("../../x").await.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$"), "{message}");
    server.finish().await;
}

/// V22's history: 2.0.0 with a pending dump of `device`, then 2.0.1 to 2.0.3.
async fn publish_four(server: &TestServer, device: &TestDevice) {
    server.upload_demo("2.0.0").await.expect(200);
    server.deliver(&device.key, "2.0.0", "dump").await;
    for version in ["2.0.1", "2.0.2", "2.0.3"] {
        server.upload_demo(version).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v22_a_pending_dump_keeps_its_version() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    publish_four(&server, &demo.device).await;
    assert_eq!(server.versions(demo.model_id).await, ["2.0.3", "2.0.2", "2.0.0"]);
    server.wait_for_empty_outbox().await;
    let keys = server.stored_keys();
    assert!(!keys.iter().any(|key| key.contains("/2.0.1/")), "{keys:?}");
    server.rows().execute("UPDATE coredumps SET parse_status = 'PARSED'");
    server.upload_demo("2.0.3").await.expect(200);
    assert_eq!(server.versions(demo.model_id).await, ["2.0.3", "2.0.2"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v22b_nothing_is_pruned_when_dumps_name_every_old_version() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_device(demo.model_id, "{}").await;
    for (version, device) in
        [("1", &demo.device), ("2", &other), ("3", &demo.device), ("4", &other)]
    {
        server.upload_demo(version).await.expect(200);
        server.deliver(&device.key, version, version).await;
    }
    assert_eq!(server.versions(demo.model_id).await, ["4", "3", "2", "1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v22c_nothing_is_pruned_within_the_limit() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1").await.expect(200);
    server.store.clear_calls();
    server.upload_demo("2").await.expect(200);
    assert_eq!(server.rows().count("outbox", "1=1"), 0);
    assert_eq!(server.store.count(Operation::Delete), 0);
    assert_eq!(server.versions(demo.model_id).await, ["2", "1"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v23_a_dump_of_another_model_keeps_nothing() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_model("other").await;
    let stranger = server.create_device(other, "{}").await;
    publish_four(&server, &stranger).await;
    assert_eq!(server.versions(demo.model_id).await, ["2.0.3", "2.0.2"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v30_a_failed_upload_changes_nothing_and_its_retry_succeeds() {
    let (server, path) = with_firmware().await;
    let put = FaultRule::new(Fault::Fail).on(Operation::Put).nth(3);
    server.store.inject(put);
    let failed = server.upload_demo("1.3.0").await;
    assert!(!failed.header("retry-after").is_empty());
    failed.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.current_version().await, "1.2.3");
    assert_eq!(server.get(&path).await.expect(200).header("x-firmware-version"), "1.2.3");
    server.store.clear_faults();
    server.upload_demo("1.3.0").await.expect(200);
    assert_eq!(server.current_version().await, "1.3.0");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_an_outage_is_a_503_and_a_broken_read_is_resumed() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let large = image("1.2.3", 4 << 20);
    let bundle = BundleBuilder::new("demo", "1.2.3").bin(large.clone()).build();
    server.upload("demo", bundle).await.expect(200);
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    server.store.set_down(true);
    let down = server.get(&path).await;
    assert!(!down.header("retry-after").is_empty());
    down.expect_error(503, "SERVICE_UNAVAILABLE");
    server.store.set_down(false);
    let cut = Fault::CutStream { after_bytes: 1 << 20 };
    server.store.inject(FaultRule::new(cut).on(Operation::Open).nth(1));
    assert!(server.get(&path).await.expect(200).body == large);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v32_v33_configurations_are_served_whole() {
    let server = TestServer::start().await;
    let model_id = server.create_model("demo").await;
    let text = r#"{"deviceName":"A","deviceEntityId":"a","enableOTA":true}"#;
    let complete = server.create_device(model_id, text).await;
    let empty = server.create_device(model_id, "{}").await;
    let config = |key: &str| format!("/api/iot/config?device_key={key}");
    let answer = server.get(&config(&complete.key)).await.expect(200);
    assert_eq!(answer.body, text);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let answer = server.get(&config(&empty.key)).await.expect(200);
    assert_eq!(answer.json(), json!({"deviceName": empty.key, "deviceEntityId": ""}));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v34_errors_below_iot_are_enveloped() {
    let server = TestServer::start().await;
    server.get("/api/iot/nope").await.expect_error(404, "ROUTE_NOT_FOUND");
    let wrong = server.put("/api/iot/config", "").await;
    assert_eq!(wrong.header("allow"), "GET, HEAD");
    wrong.expect_error(405, "METHOD_NOT_ALLOWED");
    let anonymous = server.get("/api/iot/config").await;
    assert_eq!(anonymous.header("www-authenticate"), "Bearer");
    anonymous.expect_error(401, "AUTHENTICATION_REQUIRED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v35_a_model_with_devices_is_not_deleted() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let path = format!("/api/device-models/{}", demo.model_id);
    let message = server.delete(&path).await.expect_error(409, "RESOURCE_CONFLICT");
    assert!(message.contains('1'), "{message}");
    server.get(&path).await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v36_every_missing_member_is_listed() {
    let server = TestServer::start().await;
    let answer = server.post("/api/device-models", "{}").await;
    assert_eq!(fields(&answer), ["code", "name"]);
    answer.expect_error(400, "VALIDATION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v43_a_sent_request_id_comes_back() {
    let server = TestServer::start().await;
    let answer = server.get_with("/api/nope", &[("x-request-id", "abc-1")]).await.expect(404);
    assert_eq!(answer.header("x-request-id"), "abc-1");
    assert_eq!(answer.json()["correlationId"], "abc-1");
    for refused in ["a".repeat(129), "a b".to_owned()] {
        let answer = server.get_with("/api/nope", &[("x-request-id", &refused)]).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "a fresh one is used");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v45_a_version_that_is_current_or_needed_is_not_deleted() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    publish_four(&server, &demo.device).await;
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    let activated = server.post(&format!("{versions}/2.0.2/activate"), "").await.expect(200);
    assert_eq!(
        activated.json(),
        json!({"code": "demo", "firmware_version": "2.0.2", "id": demo.model_id})
    );
    assert_eq!(server.current_version().await, "2.0.2");
    let delete = |version: &str| format!("{versions}/{version}");
    server.delete(&delete("2.0.2")).await.expect_error(409, "RESOURCE_CONFLICT");
    server.delete(&delete("2.0.0")).await.expect_error(409, "RESOURCE_CONFLICT");
    server.delete(&delete("2.0.3")).await.expect(204);
    assert_eq!(server.versions(demo.model_id).await, ["2.0.2", "2.0.0"]);
    server.delete(&delete("2.0.3")).await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}
