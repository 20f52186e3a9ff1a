//! Downloads: broken stores, vanished clients, memory shared between devices (contract §5.12).

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::firmware::{BundleBuilder, ZipEntry, image};
use reqwest::Method;

use crate::support::{TestServer, raw, wait_until};

/// A server with an image too large for the cache, and the device's path.
async fn with_large_image() -> (TestServer, String, Vec<u8>) {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let large = image("1.2.3", 12 << 20);
    let bundle = BundleBuilder::new("demo", "1.2.3").bin(large.clone());
    server.upload("demo", bundle.change_all(ZipEntry::stored).build()).await.expect(200);
    (server, format!("/api/iot/firmware?device_key={}", demo.device.key), large)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_image_is_streamed_whole_and_in_ranges() {
    let (server, path, large) = with_large_image().await;
    assert!(server.get(&path).await.expect(200).body == large);
    let part = server.get_with(&path, &[("range", "bytes=5000000-6000000")]).await.expect(206);
    assert!(part.body == large[5_000_000..=6_000_000]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_keeps_breaking_cuts_the_connection() {
    let (server, path, large) = with_large_image().await;
    assert_eq!(server.get(&path).await.expect(200).body.len(), large.len());
    let cut = Fault::CutStream { after_bytes: 1 << 20 };
    server.store.inject(FaultRule::new(cut).on(Operation::Open));
    let response = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err(), "fewer bytes never look complete");
    let failed = r#"outcome="failed""#;
    wait_for_downloads(&server, failed, 1).await;
    assert!(server.metric_where("coredock_download_resumes_total", "failed").await > 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_breaks_three_times_is_resumed() {
    let (server, path, large) = with_large_image().await;
    server.get(&path).await.expect(200);
    for nth in 1..=3 {
        let cut = Fault::CutStream { after_bytes: 1 << 20 };
        server.store.inject(FaultRule::new(cut).on(Operation::Open).nth(nth));
    }
    assert!(server.get(&path).await.expect(200).body == large);
    server.finish().await;
}

async fn wait_for_downloads(server: &TestServer, labels: &str, count: u64) {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while server.metric_where("coredock_downloads_total", labels).await < count {
        assert!(std::time::Instant::now() < deadline, "{labels}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_is_not_an_error() {
    let (server, path, _) = with_large_image().await;
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    raw::read_head(&mut stream).await;
    drop(stream);
    wait_for_downloads(&server, r#"outcome="aborted""#, 1).await;
    let error = r#"operation="iot_get_firmware",status="error""#;
    assert_eq!(server.metric_where("iot_config_operations_total", error).await, 0);
    assert_eq!(server.metric("coredock_downloads_active").await, 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_read_of_a_device_contains_the_descriptor() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = format!(
        "GET /api/iot/firmware?device_key={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        demo.device.key
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    raw::read_head(&mut stream).await;
    let mut first = [0; 1024];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
    assert_eq!(first, image("1.2.3", 4096)[..1024]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_devices_cost_one_read_of_the_store() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    server.store.clear_calls();
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    let answers = futures::future::join_all((0..30).map(|_| server.get(&path))).await;
    for answer in answers {
        answer.expect(200);
    }
    let opened = server.store.count(Operation::Open);
    assert!(opened <= 3, "{opened} reads: hash, then load");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_request_does_not_touch_the_store() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    let etag = server.get(&path).await.header("etag").to_owned();
    server.store.clear_calls();
    server.get_with(&path, &[("if-none-match", &etag)]).await.expect(304);
    assert_eq!(server.store.calls().len(), 0);
    let counted = r#"outcome="not_modified""#;
    assert_eq!(server.metric_where("coredock_downloads_total", counted).await, 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_began_before_a_replacement_is_not_mixed() {
    let (server, path, large) = with_large_image().await;
    server.get(&path).await.expect(200);
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    raw::read_head(&mut stream).await;
    let mut other = large.clone();
    other[10_000_000..].fill(0);
    let bundle = BundleBuilder::new("demo", "1.2.3").bin(other).change_all(ZipEntry::stored);
    server.upload("demo", bundle.build()).await.expect(200);
    let rows = server.rows();
    wait_until("the old set was deleted", || rows.count("outbox", "1=1") == 0).await;
    let received = raw::read_to_end(&mut stream).await;
    assert!(received.len() < large.len() || received == large, "old bytes or a cut, no mixture");
    assert!(received[..1 << 20] == large[..1 << 20]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_never_joins_two_images_replaced_within_a_second() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let filled = |fill: u8| {
        let mut image = image("1.2.3", 4096);
        image[300..].fill(fill);
        BundleBuilder::new("demo", "1.2.3").bin(image).build()
    };
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    server.upload("demo", filled(1)).await.expect(200);
    let first = server.head(&path).await.header("last-modified").to_owned();
    server.upload("demo", filled(2)).await.expect(200);
    let resumed = [("range", "bytes=1000-1003"), ("if-range", first.as_str())];
    let answer = server.get_with(&path, &resumed).await.expect(200);
    assert_eq!(answer.body.len(), 4096, "the whole new image");
    server.get_with(&path, &[("if-modified-since", &first)]).await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_may_span_several_lines() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let path = format!("/api/iot/firmware?device_key={}", demo.device.key);
    let etag = server.get(&path).await.header("etag").to_owned();
    let lines = |name| {
        let request = server.request(Method::GET, &path);
        server.send(request.header(name, "\"other\"").header(name, &etag))
    };
    lines("if-none-match").await.expect(304);
    lines("if-match").await.expect(200);
    let unreadable = server.request(Method::GET, &path).header("if-match", b"\"\xff\"".as_slice());
    server.send(unreadable).await.expect_error(412, "PRECONDITION_FAILED");
    server.finish().await;
}
