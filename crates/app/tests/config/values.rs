//! The types of values: numbers, booleans, choices, lists and URLs.

use std::time::Duration;

use coredock::config::Overrides;
use coredock::config::settings::SETTINGS;
use coredock_domain::devices::config::ConfigMode;
use coredock_domain::firmware::ImageGate;

use crate::{ConfigFile, assert_accepted, assert_refused, config, read_with};

/// Name, minimum and maximum of the contract.
const RANGES: [(&str, u64, Option<u64>); 30] = [
    ("PORT", 0, Some(65535)),
    ("DB_POOL_SIZE", 1, None),
    ("DB_POOL_MAX_OVERFLOW", 0, None),
    ("DB_POOL_TIMEOUT", 1, None),
    ("S3_TIMEOUT_SECONDS", 1, None),
    ("OIDC_CLOCK_SKEW_SECONDS", 0, None),
    ("JWKS_TTL_SECONDS", 30, None),
    ("TRUSTED_PROXY_HOPS", 0, Some(5)),
    ("HTTP_STALL_SECONDS", 20, None),
    ("MAX_FIRMWARES", 1, None),
    ("MAX_COREDUMPS", 1, None),
    ("MAX_FIRMWARE_UPLOAD_BYTES", 1, None),
    ("MAX_FIRMWARE_ENTRY_BYTES", 1, None),
    ("MAX_COREDUMP_BYTES", 1, Some(16_777_216)),
    ("COREDUMP_DEDUPE_SECONDS", 0, None),
    ("RESCUE_SPOOL_BYTES", 0, None),
    ("SYMBOLS_KEEP_DAYS", 0, None),
    ("SYMBOLIZER_WORKERS", 1, Some(64)),
    ("PARSE_TIMEOUT_SECONDS", 1, None),
    ("PARSE_MAX_ATTEMPTS", 1, None),
    ("FIRMWARE_POLL_SECONDS", 30, None),
    ("MQTT_NUDGES_PER_SECOND", 0, None),
    ("SWEEP_INTERVAL_SECONDS", 60, None),
    ("SWEEP_GRACE_SECONDS", 60, None),
    ("GRACEFUL_SHUTDOWN_TIMEOUT", 0, None),
    ("SHUTDOWN_DRAIN_SECONDS", 0, None),
    ("DEVICE_TOKEN_SECONDS", 120, Some(86_400)),
    ("ROTATION_TIMEOUT_SECONDS", 1, None),
    ("LOG_RETENTION_DAYS", 1, None),
    ("SSE_HEARTBEAT_INTERVAL", 1, Some(30)),
];

#[test]
fn whole_numbers_must_be_in_their_ranges() {
    for (name, minimum, maximum) in RANGES {
        assert_accepted(&[(name, &minimum.to_string())]);
        if let Some(below) = minimum.checked_sub(1) {
            assert_refused(name, &[(name, &below.to_string())]);
        }
        if let Some(maximum) = maximum {
            assert_accepted(&[(name, &maximum.to_string())]);
            assert_refused(name, &[(name, &(maximum + 1).to_string())]);
        }
    }
}

#[test]
fn texts_other_than_whole_numbers_are_refused() {
    for (name, ..) in RANGES {
        for text in ["-1", "+60", "60.0", "6e1", "0x60", "60 s", "many", "99999999999999999999"] {
            assert_refused(name, &[(name, text)]);
        }
    }
}

#[test]
fn booleans_have_four_words_for_each_value_in_any_case() {
    for text in ["true", "1", "yes", "on", "True", "YES", " on "] {
        assert!(config(&[("READYZ_STORE_REQUIRED", text)]).http.store_decides_readiness, "{text}");
    }
    for text in ["false", "0", "no", "off", "False", "OFF"] {
        assert!(!config(&[("AUTO_MIGRATE", text)]).database.auto_migrate, "{text}");
    }
    let names = ["ALLOW_INSECURE", "AUTO_MIGRATE", "OIDC_ENABLED", "S3_USE_SSL"];
    for name in names.into_iter().chain(["OIDC_COOKIE_SECURE", "READYZ_STORE_REQUIRED"]) {
        for text in ["2", "y", "enabled", "true false"] {
            assert_refused(name, &[(name, text)]);
        }
    }
}

#[test]
fn choices_accept_exactly_their_words() {
    let choices = [
        ("COREDOCK_ENV", &["development", "testing"][..]),
        ("ARTIFACT_STORE", &["auto", "local"]),
        ("FIRMWARE_IMAGE_GATE", &["standard", "full", "appinfo"]),
        ("SYMBOLIZER", &["auto", "native", "off"]),
        ("DEVICE_CONFIG_MODE", &["complete", "verbatim", "strict"]),
        ("LOG_LEVEL", &["trace", "debug", "info", "warn", "error"]),
        ("LOG_FORMAT", &["json", "text"]),
        ("OIDC_COOKIE_SAMESITE", &["Lax", "Strict"]),
        ("DEVICE_IDENTITY", &["auto"]),
        ("LOG_STORE", &["auto"]),
    ];
    for (name, words) in choices {
        for word in words {
            assert_accepted(&[(name, word)]);
        }
        for wrong in ["other", "none at all", &words[0].to_uppercase()] {
            assert_refused(name, &[(name, wrong)]);
        }
    }
}

#[test]
fn choices_have_an_effect() {
    let full = config(&[("FIRMWARE_IMAGE_GATE", "full")]);
    assert!(matches!(full.firmware.bundle.gate, ImageGate::Full));
    let app_info = config(&[("FIRMWARE_IMAGE_GATE", "appinfo")]);
    assert!(matches!(app_info.firmware.bundle.gate, ImageGate::AppInfo));
    let verbatim = config(&[("DEVICE_CONFIG_MODE", "verbatim")]);
    assert!(matches!(verbatim.devices.mode, ConfigMode::Verbatim));
    let strict = config(&[("DEVICE_CONFIG_MODE", "strict")]);
    assert!(matches!(strict.devices.mode, ConfigMode::Strict));
    let log = config(&[("LOG_LEVEL", "debug"), ("LOG_FORMAT", "text")]).log;
    assert_eq!((log.level.as_str(), log.json), ("debug", false));
}

#[test]
fn lists_are_json_arrays_or_separated_by_commas() {
    let both = ["https://a.example", "http://b.example:8080"];
    for text in [
        "https://a.example,http://b.example:8080",
        " https://a.example , http://b.example:8080/ ",
        r#"["https://a.example","http://b.example:8080"]"#,
        r#" [ "https://a.example/", "http://b.example:8080" ] "#,
    ] {
        assert_eq!(config(&[("CORS_ORIGINS", text)]).http.cors_origins, both, "{text}");
    }
    let file = ConfigFile::new(r#"cors_origins = ["https://a.example", "http://b.example:8080/"]"#);
    assert_eq!(file.read(&[]).unwrap().http.cors_origins, both);
    assert_eq!(config(&[("CORS_ORIGINS", "[]")]).http.cors_origins, [""; 0]);
    assert_refused("CORS_ORIGINS", &[("CORS_ORIGINS", "https://a.example,b.example")]);
    assert_accepted(&[("PARSE_RETRY_DELAYS", "[0, 10, 60]")]);
    assert_refused("PARSE_RETRY_DELAYS", &[("PARSE_RETRY_DELAYS", "10,soon")]);
}

#[test]
fn urls_are_absolute_and_lose_their_trailing_slash() {
    let origins = config(&[("CORS_ORIGINS", "https://a.example/")]).http.cors_origins;
    assert_eq!(origins, ["https://a.example"]);
    for name in ["BASEURL", "PIPELINE_BASEURL", "OIDC_ISSUER_URL", "OIDC_TOKEN_URL"] {
        assert_accepted(&[(name, "https://host.example:8443/path/")]);
        for text in
            ["host.example", "ftp://host.example", "https://", "https:///path", "http://a b"]
        {
            assert_refused(name, &[(name, text)]);
        }
    }
}

#[test]
fn an_empty_text_counts_as_not_set() {
    let everything: Vec<(&str, &str)> =
        SETTINGS.iter().map(|setting| (setting.name, "")).chain([("FLASK_ENV", "")]).collect();
    assert_eq!(format!("{:?}", config(&everything)), format!("{:?}", config(&[])));
    let blank: Vec<(&str, &str)> = everything.iter().map(|(name, _)| (*name, "  ")).collect();
    assert_eq!(format!("{:?}", config(&blank)), format!("{:?}", config(&[])));
    let file = ConfigFile::new("port = 4000\n");
    assert_eq!(file.read(&[("PORT", "")]).unwrap().http.listen.port(), 4000);
}

#[test]
fn sweeps_may_be_frequent_in_testing_mode_only() {
    for name in ["SWEEP_INTERVAL_SECONDS", "SWEEP_GRACE_SECONDS"] {
        assert_refused(name, &[(name, "59")]);
        assert_accepted(&[(name, "60")]);
        assert_accepted(&[("COREDOCK_ENV", "testing"), (name, "1")]);
        assert_refused(name, &[("COREDOCK_ENV", "testing"), (name, "0")]);
    }
    let testing = Overrides { testing: true, ..Overrides::default() };
    let frequent = read_with(&testing, &[("SWEEP_GRACE_SECONDS", "1")]).unwrap();
    assert_eq!(frequent.sweep.grace, Duration::from_secs(1));
}

#[test]
fn retry_delays_are_read_in_their_order() {
    let delays =
        |text| config(&[("PARSE_RETRY_DELAYS", text)]).coredumps.symbolication.retry_delays;
    assert_eq!(delays("0, 5,60"), [0, 5, 60].map(Duration::from_secs));
    assert_eq!(delays("[10]"), [10].map(Duration::from_secs));
    assert_refused("PARSE_RETRY_DELAYS", &[("PARSE_RETRY_DELAYS", "99999999999")]);
}
