//! Settings of authentication.

use std::time::Duration;

use crate::{assert_accepted, assert_refused, config, faults};

const ON: [(&str, &str); 4] = [
    ("OIDC_ENABLED", "true"),
    ("OIDC_ISSUER_URL", "https://id.example/realms/iot/"),
    ("OIDC_CLIENT_ID", "coredock"),
    ("OIDC_CLIENT_SECRET", "hunter2"),
];

/// OIDC with further settings.
fn on<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    ON.iter().chain(more).copied().collect()
}

#[test]
fn a_provider_has_an_issuer_a_client_and_a_secret() {
    for missing in ["OIDC_ISSUER_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"] {
        let settings: Vec<_> = ON.into_iter().filter(|(name, _)| *name != missing).collect();
        assert_refused(missing, &settings);
        assert_eq!(faults(&settings).len(), 1);
    }
    assert!(config(&[]).oidc.is_none());
    let oidc = config(&ON).oidc.unwrap();
    assert_eq!(oidc.issuer, "https://id.example/realms/iot/", "as tokens name it");
    assert_eq!(oidc.audience, "coredock");
    assert_eq!((oidc.clock_skew, oidc.keys_ttl), (Duration::from_secs(30), Duration::from_mins(5)));
    assert_eq!(oidc.scopes, ["openid", "profile", "email"]);
    assert!(!format!("{oidc:?}").contains("hunter2"));
    let oidc = config(&on(&[("OIDC_AUDIENCE", "fleet")])).oidc.unwrap();
    assert_eq!(oidc.audience, "fleet");
}

#[test]
fn with_a_provider_the_server_may_leave_loopback() {
    assert_eq!(config(&ON).http.listen.to_string(), "0.0.0.0:3101");
    assert_eq!(config(&on(&[("HOST", "127.0.0.1")])).http.listen.to_string(), "127.0.0.1:3101");
    assert_eq!(config(&[]).http.listen.to_string(), "127.0.0.1:3101");
    assert_refused("HOST", &[("HOST", "0.0.0.0")]);
    assert_accepted(&on(&[("HOST", "0.0.0.0")]));
    let testing = ("COREDOCK_ENV", "testing");
    assert_eq!(config(&on(&[testing])).http.listen.to_string(), "127.0.0.1:3101");
    assert_refused("HOST", &on(&[testing, ("HOST", "0.0.0.0")]));
    assert_accepted(&on(&[testing, ("HOST", "0.0.0.0"), ("ALLOW_INSECURE", "true")]));
}

#[test]
fn cookies_are_secure_where_people_come_by_https() {
    let secure =
        |more: &[(&'static str, &'static str)]| config(&on(more)).oidc.unwrap().cookies.secure;
    assert!(!secure(&[]));
    assert!(secure(&[("BASEURL", "https://fleet.example")]));
    assert!(!secure(&[("BASEURL", "https://fleet.example"), ("OIDC_COOKIE_SECURE", "false")]));
    assert!(secure(&[("OIDC_COOKIE_SECURE", "true")]));
}

#[test]
fn cookies_that_browsers_would_refuse_are_refused() {
    let none = ("OIDC_COOKIE_SAMESITE", "None");
    assert_refused("OIDC_COOKIE_SAMESITE", &on(&[none]));
    assert_accepted(&on(&[none, ("OIDC_COOKIE_SECURE", "true")]));
    assert_refused("OIDC_COOKIE_PARTITIONED", &on(&[("OIDC_COOKIE_PARTITIONED", "true")]));
    assert_refused("OIDC_COOKIE_NAME", &on(&[("OIDC_COOKIE_NAME", "a b")]));
    assert_refused("OIDC_REFRESH_COOKIE_NAME", &on(&[("OIDC_REFRESH_COOKIE_NAME", "a;b")]));
    let same = ("OIDC_REFRESH_COOKIE_NAME", "access_token");
    assert_refused("OIDC_REFRESH_COOKIE_NAME", &on(&[same]));
}

#[test]
fn proxies_are_addresses_or_ranges() {
    let proxies = |text: &'static str| config(&[("TRUSTED_PROXIES", text)]).http.trusted_proxies;
    let shown = |text| proxies(text).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown("10.0.0.0/8, 192.0.2.7"), ["10.0.0.0/8", "192.0.2.7/32"]);
    assert_eq!(config(&[]).http.trusted_proxies.len(), 2);
    for text in ["10.0.0.0/33", "proxy.example", "10.0.0"] {
        assert_refused("TRUSTED_PROXIES", &[("TRUSTED_PROXIES", text)]);
    }
}
