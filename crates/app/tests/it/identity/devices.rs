//! Devices by their tokens (contract §3.4).

use std::sync::Arc;

use coredock_testkit::oidc::{OidcProvider, TokenRequest};
use reqwest::Method;

use crate::support::TestServer;
use crate::support::failing_devices::{FailingDevices, ReadFault};
use crate::support::identity::{settings_of, user};

const DUMP: &str = "/api/iot/coredump?chip=esp32&firmware_version=1.0.0";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_its_own_data_whatever_it_names() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    let config = r#"{"deviceName":"other","deviceEntityId":"x"}"#;
    let other = server.create_device(demo.model_id, config).await;
    let token = provider.device_token("demo", &demo.device.key);
    let path = format!("/api/iot/config?device_key={}", other.key);
    let config = server.get_as(&token, &path).await.expect(200).json();
    assert_eq!(config["deviceName"], demo.device.key.as_str());
    server.get_as(&token, "/api/iot/firmware").await.expect(200);
    let offered = server.get_as(&token, "/api/iot/firmware-version").await.expect(200).json();
    assert_eq!(offered["firmware_version"], "1.0.0");
    let path = format!("{DUMP}&device_key={}", other.key);
    server.post_as(&token, &path, "dump").await.expect(201);
    let dumps = |id| format!("/api/devices/{id}/coredumps");
    assert_eq!(server.get(&dumps(demo.device.id)).await.json()["count"], 1);
    assert_eq!(server.get(&dumps(other.id)).await.json()["count"], 0);
    let absent = provider.device_token("demo", "zzzzzzz2");
    server.get_as(&absent, "/api/iot/config").await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_of_a_device_counts_on_its_routes() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let demo = server.demo().await;
    let key = &demo.device.key;
    let path = format!("/api/iot/config?device_key={key}");
    server.send(server.anonymous_request(Method::GET, &path)).await.expect(401);
    server.get_as(&user(provider, &["admin"]), &path).await.expect(401);
    for azp in [
        "iotdevice-M9-abc".to_owned(),
        format!("iotdevice-demo-{key}\n"),
        format!("xiotdevice-demo-{key}"),
        format!("iotdevice-demo-{key}-x"),
    ] {
        let token = provider.sign(&TokenRequest::device("demo", key).claim("azp", azp.as_str()));
        server.get_as(&token, &path).await.expect_error(401, "AUTHENTICATION_REQUIRED");
    }
    let token = provider.device_token("demo", key);
    let cookie = server.anonymous_request(Method::GET, &path);
    let cookie = cookie.header("cookie", format!("access_token={token}"));
    server.send(cookie).await.expect(401);
    let basic = server.anonymous_request(Method::GET, &path).basic_auth(key, Some("secret"));
    server.send(basic.header("cookie", format!("access_token={token}"))).await.expect(401);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_model_is_refused_everywhere() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let demo = server.demo().await;
    server.create_model("other").await;
    server.upload_demo("1.0.0").await.expect(200);
    let token = provider.device_token("other", &demo.device.key);
    for path in ["/api/iot/config", "/api/iot/firmware", "/api/iot/firmware-version"] {
        server.get_as(&token, path).await.expect_error(403, "AUTHORIZATION_FAILED");
    }
    server.post_as(&token, DUMP, "dump").await.expect_error(403, "AUTHORIZATION_FAILED");
    assert_eq!(server.rows().count("coredumps", "1=1"), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_from_memory_is_for_the_model_of_the_row_too() {
    let provider = OidcProvider::shared();
    let faults = Arc::new(FailingDevices::default());
    let settings = settings_of(provider);
    let mut server = TestServer::wrapped_with(&settings, |adapters| faults.wrap(adapters)).await;
    server.sign_in(user(provider, &["admin"]));
    let demo = server.demo().await;
    let own = provider.device_token("demo", &demo.device.key);
    let foreign = provider.device_token("other", &demo.device.key);
    server.get_as(&own, "/api/iot/config").await.expect(200);
    faults.set(Some(ReadFault::Down));
    let stale = server.get_as(&own, "/api/iot/config").await.expect(200);
    assert_eq!(stale.header("x-coredock-stale"), "true");
    server.get_as(&foreign, "/api/iot/config").await.expect_error(403, "AUTHORIZATION_FAILED");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescued_dump_is_checked_when_it_is_replayed() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let demo = server.demo().await;
    let own = provider.device_token("demo", &demo.device.key);
    let foreign = provider.device_token("other", &demo.device.key);
    let rows = server.rows();
    rows.execute("ALTER TABLE devices RENAME TO hidden");
    server.post_as(&own, DUMP, "own").await.expect(503);
    server.post_as(&foreign, DUMP, "foreign").await.expect(503);
    rows.execute("ALTER TABLE hidden RENAME TO devices");
    let dumps = format!("/api/devices/{}/coredumps", demo.device.id);
    assert_eq!(server.rescued().len(), 2);
    server.wait_for_empty_rescue().await;
    assert_eq!(server.get(&dumps).await.expect(200).json()["count"], 1);
    server.finish().await;
}
