//! Sign-in, sessions and sign-out of browsers (contract §3.7).

use std::time::Duration;

use coredock::adapters::Adapters;
use coredock_testkit::clock::SettableClock;
use coredock_testkit::oidc::{OidcClient, OidcProvider, OidcSettings, RefreshTokens, TokenRequest};
use reqwest::Method;
use serde_json::json;

use crate::support::browser::{BASE_URL, Browser};
use crate::support::identity::{CLIENT_SECRET, settings_of, user};
use crate::support::{Answer, TestServer};

const SELF: &str = "/api/auth/self";

/// A provider at which Coredock may sign users in.
fn provider(settings: OidcSettings) -> OidcProvider {
    let provider = OidcProvider::start(settings);
    provider.add_client(&OidcClient::web("coredock", CLIENT_SECRET, BASE_URL));
    provider
}

async fn server(provider: &OidcProvider) -> TestServer {
    TestServer::behind(provider, &[("BASEURL", BASE_URL)]).await
}

/// The lines that set cookies, by name.
fn set_cookies(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.get_all("set-cookie").iter();
    let mut lines: Vec<_> = lines.map(|line| line.to_str().unwrap().to_owned()).collect();
    lines.sort();
    lines
}

/// Names of the cookies which an answer removes.
fn removed_cookies(answer: &Answer) -> Vec<String> {
    let lines = set_cookies(answer).into_iter().filter(|line| line.contains("Max-Age=0"));
    lines.map(|line| line.split('=').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_uses_the_session_and_signs_out() {
    let provider = provider(OidcSettings::default());
    let server = server(&provider).await;
    let mut browser = Browser::new(&server);
    browser.get(SELF).await.expect_error(401, "AUTHENTICATION_REQUIRED");
    let begun = browser.get("/api/auth/login?redirect=/devices").await.expect(302);
    let url = begun.header("location");
    for part in [
        "client_id=coredock",
        "response_type=code",
        "redirect_uri=http%3A%2F%2Fcoredock.test%2Fapi%2Fauth%2Fcallback",
        "scope=openid+profile+email",
        "code_challenge_method=S256",
        "code_challenge=",
        "nonce=",
        "state=",
    ] {
        assert!(url.contains(part), "{url} lacks {part}");
    }
    let callback = browser.visit("/api/auth/login?redirect=/devices", "/api/auth/callback").await;
    let url = reqwest::Url::parse(&format!("{BASE_URL}{callback}")).unwrap();
    let head = browser.send(Method::HEAD, &url).await.expect(302);
    assert_eq!(set_cookies(&head), [""; 0], "HEAD changes nothing");
    let answer = browser.get(&callback).await.expect(302);
    assert_eq!(answer.header("location"), "/devices");
    let lines = set_cookies(&answer);
    for name in ["access_token", "id_token", "refresh_token"] {
        let line = lines.iter().find(|line| line.starts_with(&format!("{name}="))).unwrap();
        assert!(line.contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age="), "{line}");
        assert!(!line.contains("Secure"), "{line}");
    }
    let user = browser.get(SELF).await.expect(200).json();
    let expected = json!({
        "email": "admin@example.org", "name": "Test admin", "roles": ["admin"], "subject": "admin",
    });
    assert_eq!(user, expected);
    browser.get("/api/devices").await.expect(200);
    let out = browser.visit("/api/auth/logout?redirect=/", "/").await;
    assert_eq!(out, "/");
    assert_eq!(browser.cookie("access_token"), None);
    assert_eq!(browser.cookie("refresh_token"), None);
    browser.get(SELF).await.expect(401);
    let exchanged = server.metric_where("oidc_token_exchange_total", "success").await;
    assert_eq!(exchanged, 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_belongs_to_one_browser_and_one_login() {
    let provider = provider(OidcSettings::default());
    let server = server(&provider).await;
    let (mut victim, mut attacker) = (Browser::new(&server), Browser::new(&server));
    let login = "/api/auth/login?redirect=/";
    let callback = attacker.visit(login, "/api/auth/callback").await;
    victim.get(&callback).await.expect_error(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(victim.cookie("access_token"), None);
    for state in ["", "?state=", "?state=x", "?state=AAAA&code=x", "?code=x"] {
        let path = format!("/api/auth/callback{state}");
        attacker.get(&path).await.expect_error(400, "VALIDATION_FAILED");
    }
    // The code of one login does not fit another one.
    let other = attacker.visit(login, "/api/auth/callback").await;
    let parameter = |callback: &str, name: &str| {
        let url = reqwest::Url::parse(&format!("{BASE_URL}{callback}")).unwrap();
        url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let (code, state) = (parameter(&other, "code"), parameter(&callback, "state"));
    let mixed = format!("/api/auth/callback?code={code}&state={state}");
    attacker.get(&mixed).await.expect_error(401, "AUTHENTICATION_REQUIRED");
    let refused =
        format!("/api/auth/callback?error=access_denied&state={}", parameter(&other, "state"));
    attacker.get(&refused).await.expect_error(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(attacker.cookie("access_token"), None);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_ten_minutes_at_most() {
    let provider = provider(OidcSettings::default());
    let clock = std::sync::Arc::new(SettableClock::default());
    let wrapped = clock.clone();
    let wrap = |adapters| Adapters { clock: wrapped, ..adapters };
    let mut settings = settings_of(&provider);
    settings.push(("BASEURL", BASE_URL));
    let server = TestServer::wrapped_with(&settings, wrap).await;
    let mut browser = Browser::new(&server);
    let callback = browser.visit("/api/auth/login?redirect=/", "/api/auth/callback").await;
    clock.advance(Duration::from_secs(601));
    browser.get(&callback).await.expect_error(400, "VALIDATION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_the_installation_are_redirect_targets() {
    let provider = provider(OidcSettings::default());
    let server = server(&provider).await;
    let mut browser = Browser::new(&server);
    for target in [
        "//evil",
        "https://evil",
        "/%5Cevil",
        "/%09/evil",
        "http://coredock.test@evil",
        "http://coredock.test:8080/",
        "javascript:alert(1)",
        "",
    ] {
        for path in ["/api/auth/login", "/api/auth/logout"] {
            let answer = browser.get(&format!("{path}?redirect={target}")).await;
            answer.expect_error(400, "VALIDATION_FAILED");
        }
    }
    browser.get("/api/auth/login").await.expect_error(400, "VALIDATION_FAILED");
    browser.get("/api/auth/login?redirect=http://coredock.test/x").await.expect(302);
    browser.get("/api/auth/logout").await.expect(302);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_oidc_the_local_administrator_is_signed_in() {
    let server = TestServer::with(&[("SYMBOLIZER", "off")]).await;
    let expected = json!({
        "email": "admin@local", "name": "Local Admin", "roles": ["admin"], "subject": "local-user",
    });
    assert_eq!(server.get(SELF).await.expect(200).json(), expected);
    server.get("/api/auth/login?redirect=/").await.expect_error(400, "VALIDATION_FAILED");
    let out = server.get("/api/auth/logout?redirect=/devices").await.expect(302);
    assert_eq!(out.header("location"), "/devices");
    server.get("/api/auth/logout?redirect=//evil").await.expect(400);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_one_refresh_token_share_a_grant() {
    for refresh_tokens in [RefreshTokens::Jwt, RefreshTokens::Opaque] {
        let provider = provider(OidcSettings { refresh_tokens, ..OidcSettings::default() });
        let server = server(&provider).await;
        let mut browser = Browser::new(&server);
        browser.sign_in().await;
        let refresh = browser.cookie("refresh_token").unwrap().to_owned();
        let grants = provider.fetches().token;
        let call = || {
            let request = server.anonymous_request(Method::GET, SELF);
            server.send(request.header("cookie", format!("refresh_token={refresh}")))
        };
        let answers = futures::future::join_all((0..8).map(|_| call())).await;
        let first = set_cookies(&answers[0]);
        assert_eq!(first.len(), 3, "{first:?}");
        let token = |lines: &[String]| lines[0].split(';').next().unwrap().to_owned();
        for answer in answers {
            assert_eq!(token(&set_cookies(&answer.clone().expect(200))), token(&first));
        }
        assert_eq!(token(&set_cookies(&call().await.expect(200))), token(&first));
        assert_eq!(provider.fetches().token, grants + 1);
        browser.drop_cookie("access_token");
        browser.get("/api/devices").await.expect(200);
        browser.get(SELF).await.expect(200);
        server.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_grant() {
    let provider = provider(OidcSettings::default());
    let mut settings = settings_of(&provider);
    settings.push(("BASEURL", BASE_URL));
    let one = TestServer::on_servers(&settings).await;
    let two = one.replica(&settings).await;
    let mut browser = Browser::new(&one);
    browser.sign_in().await;
    let cookie = format!("refresh_token={}", browser.cookie("refresh_token").unwrap());
    let grants = provider.fetches().token;
    let calls = [&one, &two, &one, &two].map(|server| {
        server.send(server.anonymous_request(Method::GET, SELF).header("cookie", &cookie))
    });
    for answer in futures::future::join_all(calls).await {
        answer.expect(200);
    }
    assert_eq!(provider.fetches().token, grants + 1);
    two.finish().await;
    one.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_access_token_is_refreshed_and_a_faulty_one_is_not() {
    let provider = provider(OidcSettings::default());
    let server = server(&provider).await;
    let mut browser = Browser::new(&server);
    browser.sign_in().await;
    let admin = || TokenRequest::user("u-1").realm_roles(&["admin"]);
    browser.set_cookie("access_token", &provider.sign(&admin().time("exp", -40)));
    let refreshed = browser.get("/api/devices").await.expect(200);
    assert_eq!(set_cookies(&refreshed).len(), 3);
    let grants = provider.fetches().token;
    browser.set_cookie("access_token", &provider.sign(&admin().foreign_key()));
    let refused = browser.get("/api/devices").await.expect(401);
    assert_eq!(set_cookies(&refused), [""; 0]);
    assert_eq!(provider.fetches().token, grants);
    // A device has no session.
    browser.drop_cookie("access_token");
    browser.get("/api/iot/config").await.expect(401);
    assert_eq!(provider.fetches().token, grants);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_ends_the_session_and_an_outage_does_not() {
    let mut provider = provider(OidcSettings::default());
    let server = server(&provider).await;
    let mut browser = Browser::new(&server);
    browser.sign_in().await;
    browser.drop_cookie("access_token");
    provider.stop();
    let answer = browser.get(SELF).await;
    assert_eq!(set_cookies(&answer), [""; 0]);
    answer.expect_error(503, "SERVICE_UNAVAILABLE");
    browser.get("/api/auth/logout").await.expect(302);
    assert_eq!(browser.cookie("refresh_token"), None);
    provider.restart();
    let grants = provider.fetches().token;
    let unknown = || {
        let request = server.anonymous_request(Method::GET, SELF);
        server.send(request.header("cookie", "refresh_token=unknown"))
    };
    for answer in futures::future::join_all((0..4).map(|_| unknown())).await {
        answer.expect(401);
    }
    let answer = unknown().await;
    assert_eq!(provider.fetches().token, grants + 1, "a refusal is shared too");
    assert_eq!(removed_cookies(&answer), ["access_token", "id_token", "refresh_token"]);
    answer.expect_error(401, "AUTHENTICATION_REQUIRED");
    let refused = server.metric_where("auth_token_refresh_total", "refused").await;
    assert_eq!(refused, 5);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn self_is_for_users_with_a_role() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let roles = ["viewer", "offline_access", "editor"];
    let answer = server.get_as(&user(provider, &roles), SELF).await.expect(200).json();
    assert_eq!(answer["roles"], json!(["editor", "viewer"]));
    assert_eq!(answer["email"], json!(null));
    server.get_as(&user(provider, &["pipeline"]), SELF).await.expect(403);
    let device = provider.device_token("demo", "abcd2345");
    server.get_as(&device, SELF).await.expect(403);
    server.finish().await;
}
