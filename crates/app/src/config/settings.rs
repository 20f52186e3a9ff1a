//! The table of settings (contract §13): name, default and rule of each.

/// What the text of a setting must be.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Anything.
    Text,
    /// `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off` in any case.
    Bool,
    /// A whole number from `.0` to `.1`.
    Integer(u64, u64),
    /// A whole number of seconds, at least `.0`; in testing mode at least 1.
    SweepSeconds(u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An absolute `http` or `https` URL; a trailing `/` is dropped.
    HttpUrl,
    /// Several `HttpUrl`s.
    HttpUrls,
    /// Several whole numbers of seconds.
    Seconds,
}

/// Whether a setting has an effect yet.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    Built,
    /// A secret which has an effect.
    BuiltSecret,
    /// Tunes a part which is not built: its text is checked, but has no effect.
    Tuning,
    /// Enables the part named here, which is not built.
    Switch(&'static str),
    /// These values enable a part which is not built.
    SwitchValues(&'static [&'static str], &'static str),
}

pub struct Setting {
    /// Name in environment and file.
    pub name: &'static str,
    /// The text of a setting which is not set; empty for none.
    pub default: &'static str,
    pub rule: Rule,
    pub stage: Stage,
}

const fn row(name: &'static str, default: &'static str, rule: Rule, stage: Stage) -> Setting {
    Setting { name, default, rule, stage }
}

const OIDC: &str = "sign-in by OIDC";
const MQTT: &str = "MQTT notices";
const KEYCLOAK: &str = "device identity by Keycloak";
const LOGS: &str = "the log store";

use Rule::{Bool, Choice, HttpUrl, HttpUrls, Integer, Seconds, SweepSeconds, Text};
use Stage::{Built, BuiltSecret, Switch, SwitchValues, Tuning};

const ANY: u64 = u64::MAX;
/// Ten years in seconds: longer durations are typing mistakes.
pub(super) const LONG: u64 = 315_360_000;

/// The table, in the order of contract §13.
pub const SETTINGS: &[Setting] = &[
    row("COREDOCK_ENV", "development", Choice(&["development", "testing", "production"]), Built),
    row("DATA_DIR", "./data", Text, Built),
    row("HOST", "", Text, Built),
    row("PORT", "3101", Integer(0, 65535), Built),
    row("ALLOW_INSECURE", "false", Bool, Built),
    row("SECRET_KEY", "dev-secret-key-change-in-production", Text, BuiltSecret),
    row("DATABASE_URL", "", Text, Built),
    row("DB_POOL_SIZE", "20", Integer(1, 10_000), Built),
    row("DB_POOL_MAX_OVERFLOW", "30", Integer(0, 10_000), Built),
    row("DB_POOL_TIMEOUT", "10", Integer(1, LONG), Built),
    row("AUTO_MIGRATE", "true", Bool, Built),
    row("ARTIFACT_STORE", "auto", Choice(&["auto", "s3", "local"]), Built),
    row("ARTIFACT_DIR", "", Text, Built),
    row("S3_ENDPOINT_URL", "", Text, Built),
    row("S3_ACCESS_KEY_ID", "", Text, Built),
    row("S3_SECRET_ACCESS_KEY", "", Text, BuiltSecret),
    row("S3_BUCKET_NAME", "iot-support-attachments", Text, Built),
    row("S3_REGION", "us-east-1", Text, Built),
    row("S3_USE_SSL", "false", Bool, Built),
    row("S3_FORCE_PATH_STYLE", "", Bool, Built),
    row("S3_TIMEOUT_SECONDS", "10", Integer(1, LONG), Built),
    row("OIDC_ENABLED", "false", Bool, SwitchValues(&["true"], OIDC)),
    row("OIDC_ISSUER_URL", "", HttpUrl, Tuning),
    row("OIDC_CLIENT_ID", "", Text, Tuning),
    row("OIDC_CLIENT_SECRET", "", Text, Tuning),
    row("OIDC_AUDIENCE", "", Text, Tuning),
    row("OIDC_CLOCK_SKEW_SECONDS", "30", Integer(0, LONG), Tuning),
    row("JWKS_TTL_SECONDS", "300", Integer(30, LONG), Tuning),
    row("OIDC_TOKEN_URL", "", HttpUrl, Tuning),
    row("OIDC_SCOPES", "openid profile email", Text, Tuning),
    row("OIDC_COOKIE_NAME", "access_token", Text, Tuning),
    row("OIDC_REFRESH_COOKIE_NAME", "refresh_token", Text, Tuning),
    row("OIDC_COOKIE_SECURE", "", Bool, Tuning),
    row("OIDC_COOKIE_SAMESITE", "Lax", Choice(&["Lax", "Strict", "None"]), Tuning),
    row("OIDC_COOKIE_PARTITIONED", "false", Bool, Tuning),
    row("BASEURL", "http://localhost:3100", HttpUrl, Tuning),
    row("CORS_ORIGINS", "http://localhost:3100", HttpUrls, Built),
    row("PIPELINE_BASEURL", "", HttpUrl, Tuning),
    row("TRUSTED_PROXY_HOPS", "1", Integer(0, 5), Built),
    row("HTTP_STALL_SECONDS", "60", Integer(20, LONG), Built),
    row("MAX_FIRMWARES", "5", Integer(1, 1_000_000), Built),
    row("MAX_COREDUMPS", "20", Integer(1, 1_000_000), Built),
    row("MAX_FIRMWARE_UPLOAD_BYTES", "67108864", Integer(1, ANY), Built),
    row("MAX_FIRMWARE_ENTRY_BYTES", "134217728", Integer(1, ANY), Built),
    row("MAX_FIRMWARE_TOTAL_BYTES", "268435456", Integer(1, ANY), Built),
    row("FIRMWARE_IMAGE_GATE", "standard", Choice(&["standard", "full", "appinfo"]), Built),
    row("MAX_COREDUMP_BYTES", "1048576", Integer(1, 16_777_216), Built),
    row("COREDUMP_DEDUPE_SECONDS", "86400", Integer(0, LONG), Built),
    row("RESCUE_SPOOL_BYTES", "268435456", Integer(0, ANY), Built),
    row("SYMBOLS_KEEP_DAYS", "180", Integer(0, 36_500), Built),
    row("SYMBOLIZER", "auto", Choice(&["auto", "native", "sidecar", "off"]), Built),
    row("SYMBOLIZER_WORKERS", "", Integer(1, 64), Built),
    row("PARSE_SIDECAR_URL", "", HttpUrl, Built),
    row("PARSE_SIDECAR_XFER_DIR", "", Text, Built),
    row("PARSE_TIMEOUT_SECONDS", "120", Integer(1, LONG), Built),
    row("PARSE_LEASE_SECONDS", "180", Integer(1, LONG), Built),
    row("PARSE_MAX_ATTEMPTS", "3", Integer(1, 1000), Built),
    row("PARSE_RETRY_DELAYS", "10,60", Seconds, Built),
    row("FIRMWARE_POLL_SECONDS", "300", Integer(30, LONG), Built),
    row("DEVICE_CONFIG_MODE", "complete", Choice(&["complete", "verbatim", "strict"]), Built),
    row("MQTT_URL", "", Text, Switch(MQTT)),
    row("MQTT_USERNAME", "", Text, Tuning),
    row("MQTT_PASSWORD", "", Text, Tuning),
    row("MQTT_CLIENT_ID", "coredock", Text, Tuning),
    row("DEVICE_MQTT_URL", "", Text, Tuning),
    row("MQTT_NUDGES_PER_SECOND", "10", Integer(0, 1_000_000), Tuning),
    row("SWEEP_INTERVAL_SECONDS", "3600", SweepSeconds(60), Built),
    row("SWEEP_GRACE_SECONDS", "86400", SweepSeconds(60), Built),
    row("ASSETS_DIR", "", Text, Tuning),
    row("COREDUMPS_DIR", "", Text, Tuning),
    row("GRACEFUL_SHUTDOWN_TIMEOUT", "600", Integer(0, LONG), Built),
    row("SHUTDOWN_DRAIN_SECONDS", "", Integer(0, LONG), Built),
    row("METRICS_TOKEN", "", Text, BuiltSecret),
    row("READYZ_STORE_REQUIRED", "false", Bool, Built),
    row("LOG_LEVEL", "info", Choice(&["trace", "debug", "info", "warn", "error"]), Built),
    row("LOG_FORMAT", "json", Choice(&["json", "text"]), Built),
    row(
        "DEVICE_IDENTITY",
        "auto",
        Choice(&["auto", "keycloak", "builtin"]),
        SwitchValues(&["keycloak", "builtin"], "device identity"),
    ),
    row("KEYCLOAK_BASE_URL", "", HttpUrl, Switch(KEYCLOAK)),
    row("KEYCLOAK_REALM", "", Text, Switch(KEYCLOAK)),
    row("KEYCLOAK_ADMIN_CLIENT_ID", "", Text, Switch(KEYCLOAK)),
    row("KEYCLOAK_ADMIN_CLIENT_SECRET", "", Text, Switch(KEYCLOAK)),
    row("KEYCLOAK_DEVICE_SCOPE_NAME", "iot-device-audience", Text, Tuning),
    row("DEVICE_BASEURL", "", HttpUrl, Tuning),
    row("WIFI_SSID", "", Text, Tuning),
    row("WIFI_PASSWORD", "", Text, Tuning),
    row("DEVICE_TOKEN_SECONDS", "3600", Integer(120, 86_400), Tuning),
    row("ROTATION_CRON", "", Text, Switch("rotation of device secrets")),
    row("ROTATION_TIMEOUT_SECONDS", "300", Integer(1, LONG), Tuning),
    row("ROTATION_CRITICAL_THRESHOLD_DAYS", "7", Integer(0, 36_500), Tuning),
    row(
        "LOG_STORE",
        "auto",
        Choice(&["auto", "elasticsearch", "builtin"]),
        SwitchValues(&["elasticsearch", "builtin"], LOGS),
    ),
    row("LOG_RETENTION_DAYS", "14", Integer(1, 36_500), Tuning),
    row("ELASTICSEARCH_URL", "", HttpUrl, Switch(LOGS)),
    row("ELASTICSEARCH_USERNAME", "", Text, Tuning),
    row("ELASTICSEARCH_PASSWORD", "", Text, Tuning),
    row("ELASTICSEARCH_INDEX_PATTERN", "logstash-http-*", Text, Tuning),
    row("FRONTEND_VERSION_URL", "", HttpUrl, Switch("live events")),
    row("SSE_HEARTBEAT_INTERVAL", "15", Integer(1, 30), Tuning),
    row("ARCHITECTURE_PIPELINE_TRIGGER_URL", "", HttpUrl, Switch("the architecture webhook")),
    row("DRAIN_AUTH_KEY", "", Text, Switch("draining by request")),
];

/// The row of a name.
///
/// # Panics
/// When the table does not have the name: code asks for settings by name, and a typing mistake must
/// not read as "not set".
pub fn setting(name: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in the table of settings"))
}

/// Names of a legacy deployment, which are accepted and have no effect.
pub fn is_legacy(name: &str) -> bool {
    const LEGACY: [&str; 7] = [
        "DEBUG",
        "FLASK_ENV",
        "METRICS_UPDATE_INTERVAL",
        "DB_POOL_ECHO",
        "SSE_GATEWAY_URL",
        "SSE_CALLBACK_SECRET",
        "INTERNAL_API_URL",
    ];
    LEGACY.contains(&name)
        || name == "WAITRESS_THREADS"
        || name.starts_with("TASK_")
        || name.starts_with("DIAGNOSTICS_")
}
