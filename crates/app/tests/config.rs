//! The rules of contract §13, setting by setting.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coredock::config::settings::SETTINGS;
use coredock::config::{
    ArtifactStoreConfig, Config, ConfigError, DatabasePlace, Environment, Overrides, SidecarConfig,
    SymbolizerConfig,
};
use coredock_domain::devices::config::ConfigMode;
use coredock_domain::firmware::ImageGate;

fn read_with(overrides: &Overrides, settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::read(overrides, settings.iter().map(owned))
}

#[track_caller]
fn config(settings: &[(&str, &str)]) -> Config {
    read_with(&Overrides::default(), settings).unwrap()
}

fn faults(settings: &[(&str, &str)]) -> Vec<String> {
    faults_with(&Overrides::default(), settings)
}

fn faults_with(overrides: &Overrides, settings: &[(&str, &str)]) -> Vec<String> {
    read_with(overrides, settings).map_or_else(|error| error.0, |_| Vec::new())
}

/// Fails unless the only fault is with `name`, which the last of `settings` is about.
#[track_caller]
fn assert_refused(name: &str, settings: &[(&str, &str)]) {
    let found = faults(settings);
    let named = |fault: &String| fault.starts_with(&format!("{name}: "));
    assert!(found.len() == 1 && found.iter().all(named), "{settings:?} gives {found:?}");
}

#[track_caller]
fn assert_accepted(settings: &[(&str, &str)]) {
    assert_eq!(faults(settings), Vec::<String>::new(), "{settings:?}");
}

/// A configuration file with this content.
struct ConfigFile {
    directory: tempfile::TempDir,
}

impl ConfigFile {
    fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("coredock.toml"), content).unwrap();
        Self { directory }
    }

    fn overrides(&self) -> Overrides {
        Overrides { file: Some(self.path()), ..Overrides::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("coredock.toml")
    }

    fn read(&self, settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        read_with(&self.overrides(), settings)
    }
}

fn sqlite_path(config: &Config) -> &Path {
    match &config.database.place {
        DatabasePlace::Sqlite(path) => path,
        DatabasePlace::Postgres(url) => panic!("{url} is no file"),
    }
}

#[test]
fn without_any_setting_the_defaults_of_the_contract_hold() {
    let config = config(&[]);
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.data_dir, Path::new("./data"));
    assert_eq!(sqlite_path(&config), Path::new("./data/coredock.db"));
    let artifacts = Path::new("./data/artifacts");
    assert!(matches!(&config.artifacts, ArtifactStoreConfig::Local(path) if path == artifacts));
    assert_eq!(config.http.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, 3101)));
    assert_eq!(config.http.cors_origins, ["http://localhost:3100"]);
    assert_eq!(config.http.stall, Duration::from_mins(1));
    assert_eq!(config.http.trusted_proxy_hops, 1);
    assert!(!config.http.allow_insecure && !config.http.store_decides_readiness);
    assert!(config.http.metrics_token.is_none());
    assert_eq!((config.database.kept, config.database.overflow), (20, 30));
    assert!(config.database.auto_migrate);
    assert_eq!(config.database.wait, Duration::from_secs(10));
    assert_eq!(config.firmware.kept_versions, 5);
    assert_eq!(config.firmware.upload_bytes, 64 << 20);
    assert_eq!(config.firmware.bundle.entry_bytes, 128 << 20);
    assert_eq!(config.firmware.bundle.total_bytes, 256 << 20);
    assert!(matches!(config.firmware.bundle.gate, ImageGate::Standard));
    assert_eq!(config.firmware.symbols_kept, Duration::from_hours(180 * 24));
    assert!(matches!(config.devices.mode, ConfigMode::Complete));
    assert_eq!(config.devices.poll, Duration::from_mins(5));
    assert_eq!(config.sweep.interval, Duration::from_hours(1));
    assert_eq!(config.sweep.grace, Duration::from_hours(24));
    assert_eq!(config.shutdown.grace, Duration::from_mins(10));
    assert_eq!(config.shutdown.drain, Duration::ZERO);
    assert_eq!((config.log.level.as_str(), config.log.json), ("info", true));
}

/// Names in the first column of the table of contract §13.
fn names_of_the_contract() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/contract.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## 13. ").nth(1).unwrap().split("\n## 14. ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let names = cells.flat_map(|cell| cell.split('`').map(str::to_owned).collect::<Vec<_>>());
    names.filter(|name| !name.is_empty() && !name.contains([' ', '…', ','])).collect()
}

#[test]
fn every_setting_of_the_contract_is_known() {
    let names = names_of_the_contract();
    assert!(names.len() > 90, "{names:?}");
    for name in names {
        let known = SETTINGS.iter().any(|setting| setting.name == name);
        let elsewhere = ["FLASK_ENV", "COREDOCK_CONFIG"].contains(&name.as_str());
        assert!(known || elsewhere, "{name} is in the contract only");
    }
}

/// Name, smallest and largest value the contract allows.
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
fn whole_numbers_are_held_to_their_ranges() {
    for (name, least, most) in RANGES {
        assert_accepted(&[(name, &least.to_string())]);
        if let Some(below) = least.checked_sub(1) {
            assert_refused(name, &[(name, &below.to_string())]);
        }
        if let Some(most) = most {
            assert_accepted(&[(name, &most.to_string())]);
            assert_refused(name, &[(name, &(most + 1).to_string())]);
        }
    }
}

#[test]
fn what_is_no_whole_number_is_refused() {
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
fn choices_take_exactly_their_words() {
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
fn chosen_words_arrive() {
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
fn an_empty_text_is_as_good_as_none() {
    let everything: Vec<(&str, &str)> =
        SETTINGS.iter().map(|setting| (setting.name, "")).chain([("FLASK_ENV", "")]).collect();
    assert_eq!(format!("{:?}", config(&everything)), format!("{:?}", config(&[])));
    let blank: Vec<(&str, &str)> = everything.iter().map(|(name, _)| (*name, "  ")).collect();
    assert_eq!(format!("{:?}", config(&blank)), format!("{:?}", config(&[])));
    let file = ConfigFile::new("port = 4000\n");
    assert_eq!(file.read(&[("PORT", "")]).unwrap().http.listen.port(), 4000);
}

#[test]
fn sweeps_may_be_hasty_in_testing_only() {
    for name in ["SWEEP_INTERVAL_SECONDS", "SWEEP_GRACE_SECONDS"] {
        assert_refused(name, &[(name, "59")]);
        assert_accepted(&[(name, "60")]);
        assert_accepted(&[("COREDOCK_ENV", "testing"), (name, "1")]);
        assert_refused(name, &[("COREDOCK_ENV", "testing"), (name, "0")]);
    }
    let testing = Overrides { testing: true, ..Overrides::default() };
    let hasty = read_with(&testing, &[("SWEEP_GRACE_SECONDS", "1")]).unwrap();
    assert_eq!(hasty.sweep.grace, Duration::from_secs(1));
}

#[test]
fn the_cap_of_all_entries_is_not_below_that_of_one() {
    let (entry, total) = ("MAX_FIRMWARE_ENTRY_BYTES", "MAX_FIRMWARE_TOTAL_BYTES");
    assert_accepted(&[(entry, "1000"), (total, "1000")]);
    assert_refused(total, &[(entry, "1000"), (total, "999")]);
    assert_refused(total, &[(total, "1000")]);
}

#[test]
fn the_environment_of_a_legacy_deployment_is_a_fallback() {
    assert_eq!(config(&[("FLASK_ENV", "testing")]).environment, Environment::Testing);
    let both = config(&[("FLASK_ENV", "testing"), ("COREDOCK_ENV", "development")]);
    assert_eq!(both.environment, Environment::Development);
    assert_refused("SECRET_KEY", &[("FLASK_ENV", "production")]);
    let testing = Overrides { testing: true, ..Overrides::default() };
    let refused = faults_with(&testing, &[("FLASK_ENV", "production")]);
    assert_eq!(refused, ["COREDOCK_ENV: --testing cannot be used in production"]);
}

#[test]
fn names_of_a_legacy_deployment_are_accepted_and_without_effect() {
    let legacy = [
        ("DEBUG", "maybe"),
        ("TASK_MAX_WORKERS", "none"),
        ("METRICS_UPDATE_INTERVAL", "often"),
        ("DB_POOL_ECHO", "loud"),
        ("DIAGNOSTICS_ENABLED", "?"),
        ("SSE_GATEWAY_URL", "nowhere"),
        ("SSE_CALLBACK_SECRET", "s"),
        ("INTERNAL_API_URL", "nowhere"),
        ("WAITRESS_THREADS", "-3"),
    ];
    assert_eq!(format!("{:?}", config(&legacy)), format!("{:?}", config(&[])));
    let lines: Vec<String> = legacy
        .iter()
        .map(|(name, value)| format!("{} = \"{value}\"", name.to_lowercase()))
        .collect();
    let read = ConfigFile::new(&lines.join("\n")).read(&[]).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", config(&[])));
}

#[test]
fn unknown_names_are_ignored_in_the_environment_and_refused_in_the_file() {
    assert_accepted(&[("PORTT", "1"), ("LANG", "C"), ("port", "x")]);
    let file = ConfigFile::new("portt = 1\nPort = 4000\n[http]\nport = 1\n");
    let found = file.read(&[]).unwrap_err().0;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|fault| fault.starts_with("PORTT: unknown setting")), "{found:?}");
    assert!(found.iter().any(|fault| fault.starts_with("HTTP: unknown setting")), "{found:?}");
}

#[test]
fn the_file_has_texts_numbers_and_booleans_under_names_in_any_case() {
    let file = ConfigFile::new(
        "PORT = 4000\nallow_insecure = true\nHost = \"0.0.0.0\"\nMax_Firmwares = \"7\"\n",
    );
    let config = file.read(&[]).unwrap();
    assert_eq!(config.http.listen, "0.0.0.0:4000".parse().unwrap());
    assert_eq!(config.firmware.kept_versions, 7);
    for wrong in ["port = 4000.5", "port = 1979-05-27", "[port]\nnumber = 4000", "port = [1, [2]]"]
    {
        let found = ConfigFile::new(wrong).read(&[]).unwrap_err().0;
        assert!(found.iter().all(|fault| fault.starts_with("PORT: ")), "{wrong}: {found:?}");
    }
}

#[test]
fn a_file_that_is_absent_or_broken_is_a_fault_of_its_own() {
    let absent = [("COREDOCK_CONFIG", "/nowhere/coredock.toml")];
    assert_refused("COREDOCK_CONFIG", &absent);
    let broken = ConfigFile::new("secret_key = \"hunter2-hunter2-hunter2\nport = 1\n");
    let found = broken.read(&[]).unwrap_err().0;
    assert!(found.len() == 1 && found[0].starts_with("COREDOCK_CONFIG: "), "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn later_sources_win() {
    let file = ConfigFile::new("port = 4001\ndata_dir = \"file\"\n");
    let path = file.path();
    let named = [("COREDOCK_CONFIG", path.to_str().unwrap())];
    assert_eq!(config(&named).http.listen.port(), 4001);
    let environment = [named[0], ("PORT", "4002")];
    assert_eq!(config(&environment).http.listen.port(), 4002);
    assert_eq!(config(&environment).data_dir, Path::new("file"));
    let overrides = Overrides {
        listen: Some("127.0.0.2:4003".into()),
        data_dir: Some("line".into()),
        ..Overrides::default()
    };
    let line = read_with(&overrides, &environment).unwrap();
    assert_eq!(line.http.listen, "127.0.0.2:4003".parse().unwrap());
    assert_eq!(line.data_dir, Path::new("line"));
    let other = ConfigFile::new("port = 4004\n");
    assert_eq!(read_with(&other.overrides(), &named).unwrap().http.listen.port(), 4004);
}

#[test]
fn addresses_to_listen_on_are_loopback_unless_insecurity_is_allowed() {
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
fn bytes_lie_in_s3_when_that_is_named_or_told_of() {
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
fn production_wants_a_secret_of_sixteen_characters_and_drains_for_five_seconds() {
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
        ("OIDC_ENABLED", "true"),
        ("OIDC_ENABLED", "1"),
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
fn settings_of_parts_that_are_switched_off_do_no_harm() {
    let local = ("ARTIFACT_STORE", "local");
    assert_accepted(&[local, ("S3_ENDPOINT_URL", "http://minio:9000"), ("S3_BUCKET_NAME", "b")]);
    assert_accepted(&[("OIDC_ENABLED", "off"), ("OIDC_ISSUER_URL", "https://id.example/realm")]);
    assert_accepted(&[("S3_REGION", "eu-west-1"), ("MQTT_USERNAME", "u"), ("MQTT_PASSWORD", "p")]);
}

#[test]
fn the_lease_of_a_parse_outlasts_its_time_out() {
    let (time_out, lease) = ("PARSE_TIMEOUT_SECONDS", "PARSE_LEASE_SECONDS");
    assert_accepted(&[(time_out, "30"), (lease, "31")]);
    assert_refused(lease, &[(time_out, "30"), (lease, "30")]);
}

#[test]
fn the_rescue_spool_has_a_size_and_can_be_switched_off() {
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

#[test]
fn retry_delays_are_read_in_their_order() {
    let delays =
        |text| config(&[("PARSE_RETRY_DELAYS", text)]).coredumps.symbolication.retry_delays;
    assert_eq!(delays("0, 5,60"), [0, 5, 60].map(Duration::from_secs));
    assert_eq!(delays("[10]"), [10].map(Duration::from_secs));
    assert_refused("PARSE_RETRY_DELAYS", &[("PARSE_RETRY_DELAYS", "99999999999")]);
}

#[test]
fn every_fault_is_reported_at_once() {
    let found = faults(&[
        ("PORT", "x"),
        ("AUTO_MIGRATE", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("HOST", "0.0.0.0"),
        ("DATABASE_URL", "mysql://h/d"),
        ("MQTT_URL", "mqtt://broker"),
        ("MAX_FIRMWARE_TOTAL_BYTES", "1"),
    ]);
    assert_eq!(found.len(), 7, "{found:?}");
}

#[test]
fn secrets_are_not_shown() {
    let config = config(&[("METRICS_TOKEN", "hunter2"), ("SECRET_KEY", "hunter2-hunter2")]);
    assert_eq!(config.http.metrics_token.as_ref().unwrap().reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}
