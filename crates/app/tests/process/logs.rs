//! What the log contains, and what it must not contain (contract §14.3).

use coredock_testkit::oidc::{OidcClient, OidcProvider, OidcSettings, TokenRequest};
use reqwest::Method;
use serde_json::Value;

use super::support::files::fresh_data_dir;
use super::support::process::log_line;
use super::support::raw;
use super::support::server::Server;

const SECRETS: [&str; 3] = ["secret-of-metrics", "secret-of-sessions", "secret-of-the-device"];

/// The lines of a whole log; fails unless each is complete.
fn lines_of(log: &str) -> Vec<Value> {
    let lines: Vec<Value> = log.lines().map(log_line).collect();
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(text("time").len() == 27 && text("time").ends_with('Z'), "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&text("level")), "{line}");
        assert!(!text("target").is_empty() && !text("message").is_empty(), "{line}");
    }
    lines
}

#[tokio::test]
async fn every_line_is_complete_and_none_shows_a_secret() {
    let (_directory, data_dir) = fresh_data_dir();
    let settings =
        [("LOG_LEVEL", "trace"), ("METRICS_TOKEN", SECRETS[0]), ("SECRET_KEY", SECRETS[1])];
    let server = Server::start(&data_dir, &settings);
    server.publish_demo(&["1.0.0"]).await;
    let config = format!(r#"{{"deviceName":"Hall","wifiPassword":"{}"}}"#, SECRETS[2]);
    let device = server.create_device(&config).await;
    server.get(&format!("/api/iot/config?device_key={device}")).await.expect(200);
    server.post("/api/devices", format!(r#"{{"config":"{}"}}"#, SECRETS[2])).await.expect(400);
    let metrics = server.request(Method::GET, "/metrics").bearer_auth(SECRETS[0]);
    server.send(metrics).await.expect(200);
    let refused = server.request(Method::GET, "/metrics").bearer_auth("secret-of-the-device");
    server.send(refused).await.expect(401);
    let with_token = server.request(Method::GET, "/api/devices").bearer_auth(SECRETS[1]);
    server.send(with_token.header("Cookie", "access_token=secret-of-sessions")).await.expect(200);
    let ended = server.stop();
    assert!(lines_of(&ended.stdout).len() > 5);
    for secret in SECRETS {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn neither_log_nor_metrics_show_a_token_a_cookie_or_a_secret() {
    const UNKNOWN: [&str; 4] =
        ["token-of-a-stranger", "refresh-of-a-stranger", "code-of-a-stranger", "id-of-a-stranger"];
    let provider = OidcProvider::start(OidcSettings::default());
    let base_url = "http://localhost:3100";
    provider.add_client(&OidcClient::web("coredock", "secret-of-the-client", base_url));
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("SECRET_KEY", SECRETS[1]),
        ("OIDC_ENABLED", "true"),
        ("OIDC_ISSUER_URL", provider.issuer()),
        ("OIDC_CLIENT_ID", "coredock"),
        ("OIDC_CLIENT_SECRET", "secret-of-the-client"),
    ];
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &settings);
    let admin = || TokenRequest::user("u-1").realm_roles(&["admin"]);
    let tokens = [
        provider.sign(&admin()),
        provider.sign(&admin().time("exp", -40)),
        provider.sign(&admin().foreign_key()),
        provider.sign(&admin().key_id(Some("unknown"))),
        provider.device_token("demo", "abcd2345"),
        UNKNOWN[0].to_owned(),
    ];
    for token in &tokens {
        for path in ["/api/devices", "/api/iot/config"] {
            server.send(server.request(Method::GET, path).bearer_auth(token)).await;
            let cookies = format!("access_token={token}; refresh_token={}", UNKNOWN[1]);
            server.send(server.request(Method::GET, path).header("Cookie", cookies)).await;
        }
    }
    let login = server.get("/api/auth/login?redirect=/").await.expect(302);
    let url = login.headers["location"].to_str().unwrap().to_owned();
    let state = url.split(['?', '&']).find_map(|pair| pair.strip_prefix("state=")).unwrap();
    let cookie = login.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let callback = format!("/api/auth/callback?code={}&state={state}", UNKNOWN[2]);
    let callback = server.request(Method::GET, &callback).header("Cookie", cookie);
    server.send(callback).await.expect(401);
    let logout = server.request(Method::GET, "/api/auth/logout");
    let id = format!("id_token={}", UNKNOWN[3]);
    server.send(logout.header("Cookie", id)).await.expect(302);
    let metrics = server.get("/metrics").await.expect(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let ended = server.stop();
    let shown = format!("{}{}{metrics}", ended.stdout, ended.stderr);
    assert!(shown.contains("authentication_failed") && metrics.contains("auth_validation_total"));
    let login_id = cookie.split_once('=').unwrap().1;
    let mut secrets = vec![SECRETS[1], "secret-of-the-client", state, login_id];
    secrets.extend(UNKNOWN);
    secrets.extend(tokens.iter().flat_map(|token| token.split('.').skip(1)));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn lines_of_a_request_carry_its_id() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.post_model("demo").await.expect(201);
    let bundle = coredock_testkit::firmware::bundle("1.0.0");
    let upload = server.request(Method::POST, "/api/pipeline/models/demo/firmware").body(bundle);
    server.send(upload.header("X-Request-ID", "upload-1")).await.expect(200);
    let unknown = server.request(Method::GET, "/api/device-models/77");
    server.send(unknown.header("X-Request-ID", "unknown-1")).await.expect(404);
    let lines = lines_of(&server.stop().stdout);
    let of = |id: &str| {
        let is_of = |line: &&Value| line["correlation_id"] == id;
        lines.iter().filter(is_of).collect::<Vec<_>>()
    };
    let uploaded = of("upload-1");
    assert!(uploaded.iter().any(|line| line["event"] == "firmware_uploaded"), "{uploaded:?}");
    assert!(uploaded.iter().any(|line| line["status"] == 200), "{uploaded:?}");
    let unknown = of("unknown-1");
    assert!(unknown.iter().any(|line| line["status"] == 404), "{unknown:?}");
    assert!(unknown.iter().all(|line| line["level"] != "ERROR"), "{unknown:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_not_an_error() {
    let (_directory, data_dir) = fresh_data_dir();
    // An indexer would log a warning, because the ELF of this bundle is not valid.
    let server = Server::start(&data_dir, &[("SYMBOLIZER", "off")]);
    let device = server.publish_large_demo().await;
    drop(raw::begin_download(server.address(), &device));
    let large = coredock_testkit::firmware::bundle("1.0.1");
    drop(raw::begin_upload(server.address(), &large, large.len() / 2));
    server
        .wait_for_metric(r#"coredock_downloads_total{kind="firmware",outcome="aborted"} 1"#)
        .await;
    server.wait_for_metric(r#"coredock_firmware_uploads_total{result="rejected"} 1"#).await;
    let ended = server.stop();
    let errors: Vec<Value> = lines_of(&ended.stdout)
        .into_iter()
        .filter(|line| line["level"] == "ERROR" || line["level"] == "WARN")
        .collect();
    assert_eq!(errors, [Value::Null; 0]);
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn the_first_line_says_which_version_runs_on_which_data() {
    let (_directory, data_dir) = fresh_data_dir();
    let ended = Server::start(&data_dir, &[("SYMBOLIZER", "off")]).stop();
    let lines = lines_of(&ended.stdout);
    let (first, data_dir) = (&lines[0], data_dir.display());
    let expected = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("data_dir", data_dir.to_string()),
        ("database", format!("sqlite://{data_dir}/coredock.db")),
        ("artifact_store", format!("directory {data_dir}/artifacts")),
        ("symbolizer", "off".to_owned()),
    ];
    for (member, value) in expected {
        assert_eq!(first[member], value, "{first}");
        assert!(first["message"].as_str().unwrap().contains(&value), "{first}");
    }
}
