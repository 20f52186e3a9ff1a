//! Deliveries of dumps by devices (contract §4.5, §6.1–§6.3), V24 to V28 and the rows of §18.

mod faults;
mod rescue;

use coredock_testkit::faulty_store::Operation;
use serde_json::Value;

use crate::support::{TestServer, raw};

#[tokio::test(flavor = "multi_thread")]
async fn v24_a_dump_is_stored_as_it_was_sent() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let body: Vec<u8> = (0..=255).collect();
    let id = server.deliver(&demo.device.key, "1.0.0+5.gabc-dirty", body.clone()).await;
    let dump = server.dump(demo.device.id, id).await;
    assert_eq!(dump["firmware_version"], "1.0.0+5.gabc-dirty");
    assert_eq!(dump["parse_status"], "PENDING");
    assert_eq!((&dump["chip"], &dump["size"]), (&"esp32s3".into(), &256.into()));
    assert_eq!((&dump["occurrences"], &dump["parsed_at"]), (&1.into(), &Value::Null));
    assert_eq!(dump["last_seen_at"], dump["uploaded_at"]);
    assert_eq!(server.object(&format!("coredumps/{}/{id}.dmp", demo.device.key)), body);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v25_a_plus_stays_a_plus_and_percent_sequences_are_decoded() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    for (sent, stored) in [("1.0.0%2B5", "1.0.0+5"), ("a%20b", "a b"), ("%C3%A9", "é")] {
        let id = server.deliver(&demo.device.key, sent, stored).await;
        assert_eq!(server.dump(demo.device.id, id).await["firmware_version"], stored);
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v26_the_limit_is_exact_and_the_whole_body_is_read() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let limit = 1_048_576;
    let id = server.deliver(&demo.device.key, "1", vec![7; limit]).await;
    assert_eq!(server.dump(demo.device.id, id).await["size"], limit);
    let refused = server.post_dump(&demo.device.key, "1", vec![7; limit + 1]).await;
    let message = refused.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("1048576"), "{message}");
    assert_eq!(server.dump_ids(demo.device.id).await, [id]);
    server.finish().await;
}

/// The answer comes only after the last byte, by `Content-Length` and in chunks.
#[tokio::test(flavor = "multi_thread")]
async fn v26_an_answer_waits_for_the_last_byte() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let target =
        format!("/api/iot/coredump?device_key={}&chip=esp32&firmware_version=1", demo.device.key);
    for (framing, size, status) in [
        ("Content-Length: 2097152", 2_097_152, 400),
        ("Content-Length: 2000", 2000, 201),
        ("Content-Length: 500000", 500_000, 201),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![7; size - 1]).await.unwrap();
        let mut byte = [0];
        let early = stream.read(&mut byte);
        let silence = std::time::Duration::from_millis(200);
        assert!(tokio::time::timeout(silence, early).await.is_err(), "{framing}: answered early");
        stream.write_all(&[7]).await.unwrap();
        let head = raw::read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{framing}: {head}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_read_and_counted() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let pieces = |count: usize| {
        let piece = Ok::<_, std::io::Error>(vec![1_u8; 65536]);
        reqwest::Body::wrap_stream(futures::stream::iter((0..count).map(move |_| match &piece {
            Ok(bytes) => Ok(bytes.clone()),
            Err(_) => Err(std::io::Error::other("never")),
        })))
    };
    let id = server.deliver(&demo.device.key, "1", pieces(4)).await;
    assert_eq!(server.dump(demo.device.id, id).await["size"], 4 * 65536);
    let refused = server.post_dump(&demo.device.key, "1", pieces(17)).await;
    refused.expect_error(400, "VALIDATION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v27_the_oldest_dump_makes_room() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let mut ids = Vec::new();
    for body in ["one", "two", "three", "four"] {
        ids.push(server.deliver(&demo.device.key, "1", body).await);
    }
    ids.reverse();
    assert_eq!(server.dump_ids(demo.device.id).await, ids[..3]);
    server.wait_for_empty_outbox().await;
    let deleted = format!("coredumps/{}/{}.dmp", demo.device.key, ids[3]);
    assert!(!server.stored_keys().contains(&deleted));
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", "stored").await, 4);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v28_the_same_body_again_is_the_same_dump() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    let before = server.dump(demo.device.id, id).await;
    server.store.clear_calls();
    assert_eq!(server.deliver(&demo.device.key, "2", "dump").await, id);
    assert_eq!(server.store.count(Operation::Put), 0);
    let after = server.dump(demo.device.id, id).await;
    assert_eq!(after["occurrences"], 2);
    assert_eq!(
        (&after["uploaded_at"], &after["firmware_version"]),
        (&before["uploaded_at"], &"1".into())
    );
    assert!(after["last_seen_at"].as_str() > before["last_seen_at"].as_str(), "{after}");
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", "duplicate").await, 1);
    let other = server.create_device(demo.model_id, "{}").await;
    assert_ne!(server.deliver(&other.key, "1", "dump").await, id);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v28_without_a_window_every_delivery_is_a_new_dump() {
    let server = TestServer::with(&[("COREDUMP_DEDUPE_SECONDS", "0")]).await;
    let demo = server.demo().await;
    let first = server.deliver(&demo.device.key, "1", "dump").await;
    let second = server.deliver(&demo.device.key, "1", "dump").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [second, first]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_simultaneous_posts_of_one_body_are_one_dump() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let posts = (0..50).map(|_| server.deliver(&demo.device.key, "1", vec![9; 4096]));
    let ids = futures::future::join_all(posts).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(server.dump(demo.device.id, ids[0]).await["occurrences"], 50);
    assert_eq!(server.dump_ids(demo.device.id).await, [ids[0]]);
    server.wait_for_empty_outbox().await;
    let keys = server.stored_keys();
    assert_eq!(keys, [format!("coredumps/{}/{}.dmp", demo.device.key, ids[0])]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_beyond_memory_is_spooled_and_stored_whole() {
    let server = TestServer::with(&[("MAX_COREDUMP_BYTES", "16777216")]).await;
    let demo = server.demo().await;
    let body: Vec<u8> = (0..16_777_216_u32).map(|n| (n % 251) as u8).collect();
    let id = server.deliver(&demo.device.key, "1", body.clone()).await;
    let path = format!("/api/devices/{}/coredumps/{id}/download", demo.device.id);
    assert!(server.get(&path).await.expect(200).body == body);
    let spool = std::fs::read_dir(server.data_dir().join("tmp")).unwrap();
    assert_eq!(spool.count(), 0, "spool files have no names");
    let longer = server.post_dump(&demo.device.key, "1", vec![1; 16_777_217]).await;
    assert!(longer.expect_error(400, "VALIDATION_FAILED").contains("16777216"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_reported_in_the_order_of_the_contract() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let key = &demo.device.key;
    let post = |query: String, body: &'static str| {
        let server = &server;
        async move { server.post(&format!("/api/iot/coredump?{query}"), body).await }
    };
    post("chip=;&firmware_version=%".into(), "").await.expect_error(401, "AUTHENTICATION_REQUIRED");
    let both = post("device_key=zzzzzzzz&chip=esp32;rm".into(), "").await;
    let both = both.expect_error(400, "VALIDATION_FAILED");
    assert!(both.contains("chip") && both.contains("firmware_version"), "{both}");
    let unknown = post("device_key=zzzzzzzz&chip=a&firmware_version=1".into(), "").await;
    unknown.expect_error(404, "RECORD_NOT_FOUND");
    let malformed = post("device_key=nope&chip=a&firmware_version=1".into(), "x").await;
    malformed.expect_error(404, "RECORD_NOT_FOUND");
    let empty = post(format!("device_key={key}&chip=a&firmware_version=1"), "").await;
    assert!(empty.expect_error(400, "VALIDATION_FAILED").contains("1048576"));
    assert_eq!(server.metric_where("coredock_coredump_ingest_total", "rejected").await, 4);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_are_refused_are_named() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let long = "a".repeat(51);
    let cases = [
        ("chip", "firmware_version=1".to_owned()),
        ("chip", "chip=&firmware_version=1".to_owned()),
        ("chip", format!("chip={long}&firmware_version=1")),
        ("chip", "chip=esp32%3Brm&firmware_version=1".to_owned()),
        ("firmware_version", "chip=esp32".to_owned()),
        ("firmware_version", "chip=esp32&firmware_version=".to_owned()),
        ("firmware_version", "chip=esp32&firmware_version=%20%20".to_owned()),
        ("firmware_version", format!("chip=esp32&firmware_version={long}")),
        ("firmware_version", "chip=esp32&firmware_version=a%07b".to_owned()),
        ("firmware_version", "chip=esp32&firmware_version=a%zzb".to_owned()),
        ("firmware_version", "chip=esp32&firmware_version=%FF".to_owned()),
    ];
    for (name, query) in cases {
        let path = format!("/api/iot/coredump?device_key={}&{query}", demo.device.key);
        let message = server.post(&path, "dump").await.expect_error(400, "VALIDATION_FAILED");
        assert!(message.contains(&format!("\"{name}\"")), "{query}: {message}");
    }
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_accepted_whatever_it_contains() {
    let server = TestServer::with(&[("MAX_COREDUMPS", "9")]).await;
    let demo = server.demo().await;
    let bodies: [&[u8]; 5] = [&[0], &[0; 4096], b"a text", b"\x1f\x8bnot gzip", b"\x7fELF\x01"];
    for body in bodies {
        let id = server.deliver(&demo.device.key, "never published", body.to_vec()).await;
        assert_eq!(server.dump(demo.device.id, id).await["size"], body.len());
    }
    for content_type in ["application/x-www-form-urlencoded", "application/json", "text/plain"] {
        let path = format!(
            "/api/iot/coredump?device_key={}&chip=ESP32-S3&firmware_version=1",
            demo.device.key
        );
        let request = server.request(reqwest::Method::POST, &path);
        let request = request.header("content-type", content_type).body(content_type);
        let id = server.send(request).await.expect(201).json()["coredump_id"].as_i64().unwrap();
        assert_eq!(server.dump(demo.device.id, id).await["chip"], "esp32-s3");
    }
    server.finish().await;
}

/// Paths are decoded once, whichever part is encoded.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_path_is_the_same_path() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let query = format!("device_key={}&chip=esp32&firmware_version=1", demo.device.key);
    for (n, path) in ["/api/iot/cor%65dump", "/api/%69ot/coredump", "/%61pi/iot/coredump"]
        .into_iter()
        .enumerate()
    {
        let request =
            format!("POST {path}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let request = format!("{request}Content-Length: 1\r\n\r\n{n}");
        let answer = raw::exchange(&server.authority(), request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 201"), "{path}: {answer}");
    }
    assert_eq!(server.dump_ids(demo.device.id).await.len(), 3);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_build_of_a_plain_core_is_known_at_once() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let core = coredock_testkit::coredumps::CoreBuilder::new().build_id("64d3738c1").elf();
    let id = server.deliver(&demo.device.key, "1", core).await;
    assert_eq!(server.dump(demo.device.id, id).await["build_id"], "64d3738c1");
    let id = server.deliver(&demo.device.key, "1", "garbage").await;
    assert_eq!(server.dump(demo.device.id, id).await["build_id"], Value::Null);
    server.finish().await;
}
