//! Routing, CORS and request ids (contract §1).

use reqwest::Method;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_known_path_with_another_method_lists_its_methods() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let cases = [
        ("/api/devices".to_owned(), "GET, HEAD, POST"),
        (format!("/api/devices/{}", demo.device.id), "GET, HEAD, PUT, DELETE"),
        ("/api/device-models".to_owned(), "GET, HEAD, POST"),
        (format!("/api/device-models/{}/firmware", demo.model_id), "GET, HEAD, POST"),
        ("/api/pipeline/models/demo/firmware".to_owned(), "POST"),
        ("/api/iot/config".to_owned(), "GET, HEAD"),
        ("/metrics".to_owned(), "GET, HEAD"),
    ];
    for (path, allow) in cases {
        let answer = server.send(server.request(Method::PATCH, &path)).await;
        assert_eq!(answer.header("allow"), allow, "{path}");
        answer.expect_error(405, "METHOD_NOT_ALLOWED");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_not_offered_are_unknown() {
    let server = TestServer::start().await;
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/tasks/x",
        "/api/images/x",
        "/api/cas/x",
        "/api/sse/callback",
        "/internal/x",
        "/api/auth",
        "/api/rom-elfs/x",
        "//api/devices",
        "/api/devices/1/coredumps/x",
        "/api/devices/1/coredumps/1/nope",
        "/health",
        "/api/pipeline/models/demo",
    ] {
        server.get(path).await.expect_error(404, "ROUTE_NOT_FOUND");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_wherever_get_does() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let model = format!("/api/device-models/{}", demo.model_id);
    for path in [
        "/health/healthz".to_owned(),
        "/api/devices".to_owned(),
        "/api/docs/openapi.json".to_owned(),
        model.clone(),
        format!("{model}/firmware"),
        format!("{model}/firmware-versions"),
        format!("{model}/firmware-versions/1.2.3/artifacts/sdkconfig"),
        format!("/api/iot/config?device_key={}", demo.device.key),
    ] {
        let get = server.get(&path).await.expect(200);
        let head = server.head(&path).await.expect(200);
        assert!(head.body.is_empty(), "{path}");
        for name in ["content-length", "content-type", "etag", "cache-control"] {
            assert_eq!(get.header(name), head.header(name), "{path} {name}");
        }
    }
    server.head("/api/nope").await.expect(404);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_read() {
    let server =
        TestServer::with(&[("CORS_ORIGINS", r#"["http://a.example/", "http://b.example"]"#)]).await;
    let allowed = "access-control-allow-origin";
    for origin in ["http://a.example", "http://b.example"] {
        let answer = server.get_with("/api/devices", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.header(allowed), origin);
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    let answer = server.get_with("/api/devices", &[("origin", "http://evil.example")]).await;
    assert_eq!(answer.expect(200).header(allowed), "");
    let preflight = server
        .request(Method::OPTIONS, "/api/devices/1")
        .header("origin", "http://a.example")
        .header("access-control-request-method", "PUT");
    let answer = server.send(preflight).await.expect(204);
    assert_eq!(answer.header(allowed), "http://a.example");
    assert!(answer.header("access-control-allow-methods").contains("PUT"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id() {
    let server = TestServer::start().await;
    server.demo().await;
    for path in ["/api/devices", "/api/nope", "/health/healthz", "/api/devices/%ff", "/metrics"] {
        assert_eq!(server.get(path).await.header("x-request-id").len(), 36, "{path}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_is_honoured() {
    let server = TestServer::start().await;
    server.demo().await;
    let bundle = coredock_testkit::firmware::bundle("1.2.3");
    let mut stream = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let head = format!(
        "POST /api/pipeline/models/demo/firmware HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        bundle.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let interim = crate::support::raw::read_head(&mut stream).await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bundle).await.unwrap();
    let answer = crate::support::raw::read_to_end(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    server.finish().await;
}
