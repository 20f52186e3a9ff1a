//! The settings of each part of the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use coredock::config::{
    ArtifactStoreConfig, DatabasePlace, Overrides, SidecarConfig, SymbolizerConfig,
};

use crate::{assert_accepted, assert_refused, config, faults, read_with, sqlite_path};

#[test]
fn the_limit_of_all_entries_is_at_least_that_of_one() {
    let (entry, total) = ("MAX_FIRMWARE_ENTRY_BYTES", "MAX_FIRMWARE_TOTAL_BYTES");
    assert_accepted(&[(entry, "1000"), (total, "1000")]);
    assert_refused(total, &[(entry, "1000"), (total, "999")]);
    assert_refused(total, &[(total, "1000")]);
}

#[test]
fn listen_addresses_are_loopback_unless_insecurity_is_allowed() {
    let listen = |text: &str, settings: &[(&str, &str)]| {
        let overrides = Overrides { listen: Some(text.into()), ..Overrides::default() };
        read_with(&overrides, settings).map(|config| config.http.listen)
    };
    assert_eq!(listen("[::1]:1", &[]).unwrap().ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    assert!(listen("localhost:1", &[]).unwrap().ip().is_loopback());
    assert_eq!(listen(":1", &[]).unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    for open in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
        let refused = listen(open, &[]).unwrap_err().0;
        assert!(refused.len() == 1 && refused[0].starts_with("HOST: "), "{refused:?}");
        listen(open, &[("ALLOW_INSECURE", "true")]).unwrap();
    }
    for wrong in ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", "no such host:1"] {
        assert_eq!(listen(wrong, &[]).unwrap_err().0.len(), 1, "{wrong}");
    }
}

#[test]
fn a_sqlite_url_names_a_file() {
    let path = |url: &str| sqlite_path(&config(&[("DATABASE_URL", url)])).to_owned();
    assert_eq!(path("sqlite:///var/lib/coredock.db"), Path::new("/var/lib/coredock.db"));
    assert_eq!(path("sqlite:/var/lib/coredock.db"), Path::new("/var/lib/coredock.db"));
    assert_eq!(path("sqlite://rows/coredock.db"), Path::new("rows/coredock.db"));
    assert_eq!(path("sqlite://./rows.db"), Path::new("./rows.db"));
    assert_eq!(path("sqlite:rows.db"), Path::new("rows.db"));
    let elsewhere = config(&[("DATA_DIR", "/elsewhere")]);
    assert_eq!(sqlite_path(&elsewhere), Path::new("/elsewhere/coredock.db"));
    for url in ["sqlite:", "sqlite://", "sqlite::memory:", "sqlite://a.db?mode=ro", "mysql://h/d"] {
        assert_refused("DATABASE_URL", &[("DATABASE_URL", url)]);
    }
}

#[test]
fn databases_on_a_server_are_shown_without_their_password() {
    for scheme in ["postgres", "postgresql", "postgresql+psycopg"] {
        let url = format!("{scheme}://user:hunter2@host:5433/rows?sslmode=verify-full");
        let config = config(&[("DATABASE_URL", &url)]);
        let DatabasePlace::Postgres(place) = &config.database.place else { panic!("{url}") };
        assert_eq!(place.to_string(), "postgres://user@host:5433/rows");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    for rest in ["host:port/rows", "host/rows?sslmode=maybe", "host/rows?sslcert=x", "/rows"] {
        let url = format!("postgres://user:hunter2@{rest}");
        let found = faults(&[("DATABASE_URL", &url)]);
        assert!(found.len() == 1 && found[0].starts_with("DATABASE_URL: "), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn artifacts_are_in_s3_if_its_settings_say_so() {
    let keys = [("S3_ACCESS_KEY_ID", "key"), ("S3_SECRET_ACCESS_KEY", "hunter2")];
    let s3 = |settings: &[(&str, &str)]| {
        let config = config(&[settings, &keys].concat());
        assert!(!format!("{config:?}").contains("hunter2"));
        match config.artifacts {
            ArtifactStoreConfig::S3(options) => options,
            ArtifactStoreConfig::Local(path) => panic!("{}", path.display()),
        }
    };
    let amazon = s3(&[("ARTIFACT_STORE", "s3")]);
    assert_eq!((amazon.endpoint, amazon.force_path_style), (None, false));
    assert_eq!(amazon.bucket, "iot-support-attachments");
    assert_eq!((amazon.region.as_str(), amazon.timeout), ("us-east-1", Duration::from_secs(10)));
    let own = s3(&[("S3_ENDPOINT_URL", "http://minio:9000"), ("S3_BUCKET_NAME", "bucket")]);
    assert_eq!((own.force_path_style, own.bucket.as_str()), (true, "bucket"));
    let in_host = [("S3_ENDPOINT_URL", "http://minio:9000"), ("S3_FORCE_PATH_STYLE", "false")];
    assert!(!s3(&in_host).force_path_style);

    assert_refused("S3_ACCESS_KEY_ID", &[("ARTIFACT_STORE", "s3"), keys[1]]);
    assert_refused("S3_SECRET_ACCESS_KEY", &[keys[0]]);
    for (name, value) in [
        ("S3_ENDPOINT_URL", "ftp://minio"),
        ("S3_ENDPOINT_URL", "http://key:hunter2@minio:9000"),
        ("S3_BUCKET_NAME", "a/b"),
    ] {
        assert_refused(name, &[&[(name, value)][..], &keys].concat());
        let found = faults(&[&[(name, value)][..], &keys].concat());
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn production_needs_a_secret_of_sixteen_characters_and_drains_for_five_seconds() {
    let production = ("COREDOCK_ENV", "production");
    assert_refused("SECRET_KEY", &[production]);
    assert_refused("SECRET_KEY", &[production, ("SECRET_KEY", "fifteen-letters")]);
    let default = "dev-secret-key-change-in-production";
    assert_refused("SECRET_KEY", &[production, ("SECRET_KEY", default)]);
    let config = config(&[production, ("SECRET_KEY", "sixteen-letters!")]);
    assert_eq!(config.shutdown.drain, Duration::from_secs(5));
    assert_accepted(&[("SECRET_KEY", "short")]);
}

#[test]
fn parts_that_are_not_built_are_named() {
    for (name, value) in [
        ("MQTT_URL", "mqtt://broker"),
        ("DEVICE_IDENTITY", "keycloak"),
        ("DEVICE_IDENTITY", "builtin"),
        ("KEYCLOAK_BASE_URL", "http://keycloak"),
        ("KEYCLOAK_REALM", "iot"),
        ("ROTATION_CRON", "0 3 * * 6#1"),
        ("LOG_STORE", "elasticsearch"),
        ("LOG_STORE", "builtin"),
        ("ELASTICSEARCH_URL", "http://elastic"),
        ("FRONTEND_VERSION_URL", "http://frontend"),
        ("ARCHITECTURE_PIPELINE_TRIGGER_URL", "http://hook"),
        ("DRAIN_AUTH_KEY", "hunter2"),
    ] {
        assert_refused(name, &[(name, value)]);
        let found = faults(&[(name, value)]);
        assert!(found[0].contains("which this version does not have"), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn settings_of_disabled_parts_are_accepted() {
    let local = ("ARTIFACT_STORE", "local");
    assert_accepted(&[local, ("S3_ENDPOINT_URL", "http://minio:9000"), ("S3_BUCKET_NAME", "b")]);
    assert_accepted(&[("OIDC_ENABLED", "off"), ("OIDC_ISSUER_URL", "https://id.example/realm")]);
    assert_accepted(&[("S3_REGION", "eu-west-1"), ("MQTT_USERNAME", "u"), ("MQTT_PASSWORD", "p")]);
}

#[test]
fn the_lease_of_a_parse_is_longer_than_its_timeout() {
    let (timeout, lease) = ("PARSE_TIMEOUT_SECONDS", "PARSE_LEASE_SECONDS");
    assert_accepted(&[(timeout, "30"), (lease, "31")]);
    assert_refused(lease, &[(timeout, "30"), (lease, "30")]);
}

#[test]
fn the_rescue_spool_has_a_size_and_can_be_disabled() {
    assert_eq!(config(&[]).coredumps.rescue_bytes, 268_435_456);
    assert_eq!(config(&[("RESCUE_SPOOL_BYTES", "0")]).coredumps.rescue_bytes, 0);
}

#[test]
fn the_sidecar_has_a_url_and_a_directory_or_neither() {
    let (url, directory) = ("PARSE_SIDECAR_URL", "PARSE_SIDECAR_XFER_DIR");
    let both = [(url, "http://sidecar:8080/"), (directory, "/xfer")];
    let sidecar = SidecarConfig { url: "http://sidecar:8080".into(), directory: "/xfer".into() };
    assert_eq!(config(&both).coredumps.sidecar, Some(sidecar));
    assert_eq!(config(&both).coredumps.symbolizer, SymbolizerConfig::Sidecar);
    let chosen = [both[0], both[1], ("SYMBOLIZER", "sidecar")];
    assert_eq!(config(&chosen).coredumps.symbolizer, SymbolizerConfig::Sidecar);
    let off = [both[0], both[1], ("SYMBOLIZER", "off")];
    assert_eq!(config(&off).coredumps.symbolizer, SymbolizerConfig::Off);
    let native = [both[0], both[1], ("SYMBOLIZER", "native")];
    for settings in [&native[..], &native[2..], &[]] {
        assert_eq!(config(settings).coredumps.symbolizer, SymbolizerConfig::Native);
    }
    assert_refused(directory, &both[..1]);
    assert_refused(url, &both[1..]);
    assert_refused("SYMBOLIZER", &[("SYMBOLIZER", "sidecar")]);
    assert_refused(url, &[(url, "sidecar:8080"), (directory, "/xfer")]);
}
