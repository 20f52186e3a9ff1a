//! Which tokens are accepted (contract §3.2), and from where they are read.

use coredock_testkit::oidc::{JwsAlgorithm, OidcProvider, OidcSettings, TokenRequest};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::identity::user;
use crate::support::{TestServer, raw};

fn viewer() -> TokenRequest {
    TokenRequest::user("u-1").realm_roles(&["viewer"])
}

/// The status of a read with a token.
async fn status(server: &TestServer, request: &TokenRequest) -> u16 {
    let token = OidcProvider::shared().sign(request);
    server.get_as(&token, "/api/devices").await.status
}

/// Vector V37 of the contract, and the other times.
#[tokio::test(flavor = "multi_thread")]
async fn v37_times_hold_with_thirty_seconds_of_leeway() {
    let server = TestServer::behind(OidcProvider::shared(), &[]).await;
    for (claim, accepted, refused) in [("exp", -10, -40), ("nbf", 20, 60), ("iat", 20, 60)] {
        assert_eq!(status(&server, &viewer().time(claim, accepted)).await, 200, "{claim}");
        assert_eq!(status(&server, &viewer().time(claim, refused)).await, 401, "{claim}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leeway_is_configured() {
    let server =
        TestServer::behind(OidcProvider::shared(), &[("OIDC_CLOCK_SKEW_SECONDS", "0")]).await;
    assert_eq!(status(&server, &viewer().time("exp", -2)).await, 401);
    assert_eq!(status(&server, &viewer().time("exp", 60)).await, 200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_algorithms_are_accepted_and_no_others() {
    use JwsAlgorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256, RS384, RS512, Unsigned};
    let algorithms = vec![RS256, RS384, RS512, PS256, ES256, ES384, EdDSA];
    let provider = OidcProvider::start(OidcSettings { algorithms, ..OidcSettings::default() });
    let server = TestServer::behind(&provider, &[]).await;
    let status = async |algorithm| {
        let token = provider.sign(&viewer().algorithm(algorithm));
        server.get_as(&token, "/api/devices").await.status
    };
    for accepted in [RS256, RS384, RS512, ES256, ES384, EdDSA] {
        assert_eq!(status(accepted).await, 200, "{accepted:?}");
    }
    for refused in [HS256, Unsigned, PS256] {
        assert_eq!(status(refused).await, 401, "{refused:?}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_misses_something_is_refused() {
    let server = TestServer::behind(OidcProvider::shared(), &[]).await;
    let cases = [
        ("no exp", viewer().without("exp")),
        ("no iat", viewer().without("iat")),
        ("no sub", viewer().without("sub")),
        ("no aud", viewer().without("aud")),
        ("exp of another type", viewer().claim("exp", "4102444800")),
        ("iat of another type", viewer().claim("iat", true)),
        ("sub of another type", viewer().claim("sub", 7)),
        ("nbf of another type", viewer().claim("nbf", "0")),
        ("another issuer", viewer().claim("iss", "https://evil.example")),
        ("an issuer that differs by a slash", {
            viewer().claim("iss", format!("{}/", OidcProvider::shared().issuer()))
        }),
        ("another audience", viewer().claim("aud", json!(["account", "other"]))),
        ("another key", viewer().foreign_key()),
        ("an unknown key id", viewer().key_id(Some("unknown"))),
        ("no object", TokenRequest::default().payload(json!([1]))),
        ("no JSON", TokenRequest::default().payload(json!("text"))),
        ("an ID token of Keycloak", viewer().claim("typ", "ID")),
        ("an ID token", viewer().claim("at_hash", "x")),
        ("a critical extension", viewer().header("crit", json!(["exp2"])).header("exp2", 1)),
    ];
    for (name, request) in cases {
        assert_eq!(status(&server, &request).await, 401, "{name}");
    }
    assert_eq!(status(&server, &viewer().claim("aud", json!(["account", "coredock"]))).await, 200);
    assert_eq!(status(&server, &viewer().claim("typ", "Bearer").claim("nonce", "x")).await, 200);
    let refused = server.metric_where("auth_validation_total", "invalid_claims").await;
    assert!(refused >= 10, "{refused}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_from_one_bearer_line_or_from_the_cookie() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let token = user(provider, &["viewer"]);
    let status = async |lines: &[(&str, &str)]| {
        let add = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        let request = server.anonymous_request(Method::GET, "/api/devices");
        server.send(lines.iter().fold(request, add)).await.status
    };
    let cookie = format!("theme=dark; access_token={token}");
    for accepted in [
        vec![("authorization", format!("Bearer {token}"))],
        vec![("authorization", format!("bEARER {token}"))],
        vec![("cookie", cookie.clone())],
        vec![("cookie", cookie.clone()), ("authorization", "Basic dTpw".into())],
    ] {
        let lines: Vec<_> = accepted.iter().map(|(name, value)| (*name, &**value)).collect();
        assert_eq!(status(&lines).await, 200, "{lines:?}");
    }
    for refused in [
        vec![],
        vec![("authorization", "Basic dTpw".to_owned())],
        vec![("authorization", "Bearer".into())],
        vec![("authorization", format!("Bearer {token} {token}"))],
        vec![("authorization", "Bearer garbage".into()), ("cookie", cookie.clone())],
        vec![("authorization", format!("Bearer {}", "a".repeat(6000)))],
        vec![("cookie", format!("other={token}"))],
    ] {
        let lines: Vec<_> = refused.iter().map(|(name, value)| (*name, &**value)).collect();
        assert_eq!(status(&lines).await, 401, "{lines:?}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_read_before_its_sender_is_admitted() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    for path in ["/api/device-models", "/api/pipeline/models/demo/firmware", "/api/rom-elfs"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 99999999999\r\nConnection: close\r\n\r\n"
        );
        let answer = answer_to(&server, &head).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let token = user(provider, &["viewer"]);
        let head =
            head.replace("Connection:", &format!("Authorization: Bearer {token}\r\nConnection:"));
        let answer = answer_to(&server, &head).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    server.finish().await;
}

/// The head of the answer to the head of a request whose body never comes.
async fn answer_to(server: &TestServer, head: &str) -> String {
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    raw::read_head(&mut stream).await
}
