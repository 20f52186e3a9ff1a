//! Keys of the provider (contract §3.3): outages, rotations, and documents that cannot be used.

use coredock_testkit::oidc::{Endpoint, Fault, OidcProvider, OidcSettings, Rotation, TokenRequest};

use crate::support::TestServer;
use crate::support::identity::{settings_of, user};

fn provider() -> OidcProvider {
    OidcProvider::start(OidcSettings::default())
}

/// Vector V38 of the contract.
#[tokio::test(flavor = "multi_thread")]
async fn v38_unknown_key_ids_cost_one_fetch() {
    let provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    server.get("/api/devices").await.expect(200);
    let before = provider.fetches().certs;
    let unknown = |n| {
        let request = TokenRequest::user("u").realm_roles(&["admin"]);
        provider.sign(&request.key_id(Some(&format!("unknown-{n}"))))
    };
    let tokens: Vec<_> = (0..100).map(unknown).collect();
    let calls = tokens.iter().map(|token| server.get_as(token, "/api/devices"));
    for answer in futures::future::join_all(calls).await {
        answer.expect(401);
    }
    assert!(provider.fetches().certs <= before + 1);
    server.get("/api/devices").await.expect(200);
    server.finish().await;
}

/// Vector V39 of the contract, with a restart of the server.
#[tokio::test(flavor = "multi_thread")]
async fn v39_the_last_good_keys_outlive_the_provider_and_a_restart() {
    let mut provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    let demo = server.demo().await;
    let device = provider.device_token("demo", &demo.device.key);
    let viewer = user(&provider, &["viewer"]);
    provider.stop();
    server.get_as(&viewer, "/api/devices").await.expect(200);
    server.get_as(&device, "/api/iot/config").await.expect(200);
    let server = server.restart().await;
    server.get_as(&device, "/api/iot/config").await.expect(200);
    server.get_as(&viewer, "/api/devices").await.expect(200);
    let ready = server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["degraded"], serde_json::json!(["identity_provider"]), "{ready}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_key_the_answer_is_503_until_the_provider_answers() {
    let mut provider = provider();
    let viewer = user(&provider, &["viewer"]);
    let device = provider.device_token("demo", "abcd2345");
    provider.stop();
    let settings = settings_of(&provider);
    let server = TestServer::with(&settings).await;
    server.get_as(&viewer, "/api/devices").await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.get_as(&device, "/api/iot/config").await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.get("/api/devices").await.expect(401);
    provider.restart();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while server.get_as(&viewer, "/api/devices").await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "the keys are fetched again");
    }
    server.get_as(&device, "/api/iot/config").await.expect(404);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_counts_at_once_and_its_predecessor_no_more() {
    let provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    let old = user(&provider, &["viewer"]);
    server.get_as(&old, "/api/devices").await.expect(200);
    provider.rotate();
    server.get_as(&old, "/api/devices").await.expect(200);
    let new = user(&provider, &["viewer"]);
    let calls = (0..16).map(|_| server.get_as(&new, "/api/devices"));
    for answer in futures::future::join_all(calls).await {
        answer.expect(200);
    }
    server.get_as(&old, "/api/devices").await.expect(401);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_keeps_the_old_keys_disturbs_no_token() {
    let provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    let old = user(&provider, &["viewer"]);
    server.get_as(&old, "/api/devices").await.expect(200);
    provider.rotate_with(Rotation::KeepOld);
    server.get_as(&user(&provider, &["viewer"]), "/api/devices").await.expect(200);
    server.get_as(&old, "/api/devices").await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_returns_with_other_keys_is_believed() {
    let mut provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    let old = user(&provider, &["viewer"]);
    server.get_as(&old, "/api/devices").await.expect(200);
    provider.restart_with_other_keys();
    server.get_as(&user(&provider, &["viewer"]), "/api/devices").await.expect(200);
    server.get_as(&old, "/api/devices").await.expect(401);
    server.finish().await;
}

/// Documents and answers of which no key can be used.
fn useless() -> Vec<(Endpoint, Fault)> {
    let answer = |status, body: &str| Fault::Answer { status, body: body.to_owned() };
    let both =
        |fault: &Fault| [(Endpoint::Discovery, fault.clone()), (Endpoint::Certs, fault.clone())];
    let faults = [
        Fault::Redirect,
        Fault::Huge,
        Fault::Malformed,
        Fault::Cut,
        answer(500, "{}"),
        answer(200, "{}"),
        answer(200, "[]"),
    ];
    let mut all: Vec<_> = faults.iter().flat_map(both).collect();
    all.push((Endpoint::Certs, answer(200, r#"{"keys":[]}"#)));
    all.push((Endpoint::Certs, answer(200, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#)));
    let foreign = r#"{"issuer":"https://evil.example","jwks_uri":"https://evil.example/certs"}"#;
    all.push((Endpoint::Discovery, answer(200, foreign)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn useless_documents_leave_the_last_good_keys_in_use() {
    let provider = provider();
    let known = user(&provider, &["viewer"]);
    let unknown = {
        let request = TokenRequest::user("u").realm_roles(&["viewer"]);
        provider.sign(&request.key_id(Some("unknown")))
    };
    for (endpoint, fault) in useless() {
        let server = TestServer::behind(&provider, &[]).await;
        server.get_as(&known, "/api/devices").await.expect(200);
        provider.fault(endpoint, fault.clone());
        server.get_as(&unknown, "/api/devices").await.expect(401);
        let failed = server.metric_where("jwks_refresh_total", "unknown_kid").await;
        assert_eq!(failed, 1, "{endpoint:?} {fault:?}");
        let answer = server.get_as(&known, "/api/devices").await;
        assert_eq!(answer.status, 200, "{endpoint:?} {fault:?}");
        provider.clear_faults();
        server.finish().await;
    }
    assert_eq!(provider.fetches().followed, 0, "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn useless_documents_are_no_keys() {
    let provider = provider();
    let viewer = user(&provider, &["viewer"]);
    for (endpoint, fault) in useless() {
        provider.fault(endpoint, fault.clone());
        let server = TestServer::behind(&provider, &[]).await;
        let answer = server.get_as(&viewer, "/api/devices").await;
        assert_eq!(answer.status, 503, "{endpoint:?} {fault:?}");
        provider.clear_faults();
        server.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_among_others_are_found() {
    let provider = provider();
    let viewer = user(&provider, &["viewer"]);
    for fault in [Fault::DuplicateKids, Fault::UnknownKinds] {
        provider.fault(Endpoint::Certs, fault.clone());
        let server = TestServer::behind(&provider, &[]).await;
        let answer = server.get_as(&viewer, "/api/devices").await;
        assert_eq!(answer.status, 200, "{fault:?}");
        server.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_delays_no_known_key() {
    let provider = provider();
    let server = TestServer::behind(&provider, &[]).await;
    let known = user(&provider, &["viewer"]);
    server.get_as(&known, "/api/devices").await.expect(200);
    provider.fault(Endpoint::Certs, Fault::Hang);
    let unknown = TokenRequest::user("u").key_id(Some("unknown"));
    let unknown = provider.sign(&unknown);
    let waits = server.get_as(&unknown, "/api/devices");
    let known = async {
        for _ in 0..20 {
            server.get_as(&known, "/api/devices").await.expect(200);
        }
        provider.clear_faults();
    };
    let (waited, ()) = futures::join!(waits, known);
    waited.expect(401);
    server.finish().await;
}
