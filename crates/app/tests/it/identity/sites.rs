//! Requests that web pages make a browser send (contract §3.6, §3.7).

use coredock_testkit::oidc::OidcProvider;
use reqwest::Method;

use crate::support::TestServer;
use crate::support::identity::user;

/// The status of a request with header lines.
async fn status(server: &TestServer, method: Method, lines: &[(&str, &str)]) -> u16 {
    let path = if method == Method::GET { "/api/devices" } else { "/api/device-models" };
    let mut request = server.anonymous_request(method, path);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    server.send(request.body("{}")).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_a_foreign_page_reaches_nothing() {
    let server = TestServer::with(&[("SYMBOLIZER", "off")]).await;
    let own = format!("http://{}", server.authority());
    let get = async |lines: &[(&str, &str)]| status(&server, Method::GET, lines).await;
    assert_eq!(get(&[]).await, 200);
    assert_eq!(get(&[("host", "localhost:3100")]).await, 200);
    assert_eq!(get(&[("host", "rebound.example")]).await, 403);
    let forwarded = [("host", "rebound.example"), ("x-forwarded-host", "localhost")];
    assert_eq!(get(&forwarded).await, 403);
    let cross = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(get(&cross).await, 200, "a read without permission to see its answer");
    let post = async |lines: &[(&str, &str)]| status(&server, Method::POST, lines).await;
    assert_eq!(post(&[]).await, 400);
    assert_eq!(post(&[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(post(&[("origin", "https://evil.example")]).await, 403);
    assert_eq!(post(&[("origin", "null")]).await, 403);
    assert_eq!(post(&[("origin", &own)]).await, 400);
    assert_eq!(post(&[("origin", "http://localhost:3100")]).await, 400, "BASEURL");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_insecure_admits_any_host() {
    let settings = [("SYMBOLIZER", "off"), ("ALLOW_INSECURE", "true")];
    let server = TestServer::with(&settings).await;
    let lines = [("host", "fleet.example")];
    assert_eq!(status(&server, Method::GET, &lines).await, 200);
    let lines = [("origin", "https://evil.example")];
    assert_eq!(status(&server, Method::POST, &lines).await, 403);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_counts_for_pages_of_known_origins_only() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[("BASEURL", "https://fleet.example")]).await;
    let token = user(provider, &["editor"]);
    let cookie = format!("access_token={token}");
    let bearer = format!("Bearer {token}");
    let own = format!("http://{}", server.authority());
    let evil = ("origin", "https://evil.example");
    let by_cookie = ("cookie", &*cookie);
    let post = async |lines: &[(&str, &str)]| status(&server, Method::POST, lines).await;
    assert_eq!(post(&[by_cookie]).await, 400);
    assert_eq!(post(&[by_cookie, ("origin", "https://fleet.example")]).await, 400);
    assert_eq!(post(&[by_cookie, ("origin", "http://localhost:3100")]).await, 400, "CORS_ORIGINS");
    assert_eq!(post(&[by_cookie, ("origin", &own)]).await, 400);
    assert_eq!(post(&[by_cookie, ("origin", "http://fleet.example")]).await, 403);
    assert_eq!(post(&[by_cookie, ("origin", "https://fleet.example:8443")]).await, 403);
    assert_eq!(post(&[by_cookie, evil]).await, 403);
    assert_eq!(post(&[("cookie", "refresh_token=x"), evil]).await, 403, "nothing is refreshed");
    assert_eq!(post(&[evil]).await, 401);
    assert_eq!(post(&[("authorization", &bearer), evil]).await, 400);
    assert_eq!(status(&server, Method::GET, &[by_cookie, evil]).await, 200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_for_browsers_have_security_headers() {
    let server = TestServer::with(&[("SYMBOLIZER", "off")]).await;
    for path in ["/api/devices", "/api/devices/999", "/api/docs/openapi.json", "/metrics", "/none"]
    {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
    }
    let device = server.get("/api/iot/config?device_key=zzzzzzz2").await;
    assert_eq!(device.header("x-frame-options"), "", "devices pay for each byte");
    server.finish().await;
}
