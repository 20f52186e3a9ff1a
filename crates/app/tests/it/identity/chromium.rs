//! Sign-in and sign-out in a real browser (contract §3.7).

use coredock_testkit::chromium::Chromium;
use coredock_testkit::oidc::{OidcClient, OidcProvider, OidcSettings};

use crate::support::TestServer;
use crate::support::browser::BASE_URL;
use crate::support::identity::CLIENT_SECRET;

const SELF: &str = "http://coredock.test/api/auth/self";

/// From the first redirect to the page behind sign-out.
fn sign_in_and_out(authority: &str, issuer: &str) {
    let browser = Chromium::start("coredock.test", authority);
    browser.visit(SELF);
    assert!(browser.shown().contains("AUTHENTICATION_REQUIRED"), "{}", browser.shown());

    browser.visit(&format!("{BASE_URL}/api/auth/login?redirect=/api/auth/self"));
    let provider = issuer.split("/realms/").next().unwrap();
    browser.wait_for_url(provider);
    browser.type_into("input[name=login]", "viewer");
    browser.click("button");
    browser.wait_for_url(SELF);
    let user = r#"{"email":"viewer@example.org","name":"Test viewer","roles":["viewer"],"subject":"viewer"}"#;
    assert_eq!(browser.shown(), user);

    let cookies = browser.cookies();
    let mut names: Vec<_> = cookies.iter().map(|cookie| cookie["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["access_token", "id_token", "refresh_token"],
        "the cookie of the login was removed"
    );
    for cookie in &cookies {
        assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&true.into(), &"Lax".into()));
    }
    assert_eq!(browser.run("return document.cookie"), "", "scripts see no token");

    browser.visit(&format!("{BASE_URL}/api/auth/logout?redirect=/"));
    browser.wait_for_url(&format!("{BASE_URL}/"));
    assert_eq!(browser.cookies(), [serde_json::Value::Null; 0]);
    browser.visit(SELF);
    assert!(browser.shown().contains("AUTHENTICATION_REQUIRED"), "{}", browser.shown());

    // The session at the provider has ended as well: it asks again.
    browser.visit(&format!("{BASE_URL}/api/auth/login?redirect=/"));
    browser.wait_for_url(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_and_out_in_chromium() {
    let settings = OidcSettings { interactive: true, ..OidcSettings::default() };
    let provider = OidcProvider::start(settings);
    provider.add_client(&OidcClient::web("coredock", CLIENT_SECRET, BASE_URL));
    let server = TestServer::behind(&provider, &[("BASEURL", BASE_URL)]).await;
    let (authority, issuer) = (server.authority(), provider.issuer().to_owned());
    let driving = tokio::task::spawn_blocking(move || sign_in_and_out(&authority, &issuer));
    driving.await.unwrap();
    server.finish().await;
}
