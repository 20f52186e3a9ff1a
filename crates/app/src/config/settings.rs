//! The table of settings (contract §13): name, default and rule of each.

/// The form that the text of a setting must have.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Anything.
    Text,
    /// `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off` in any case.
    Bool,
    /// A whole number within these limits.
    Integer {
        min: u64,
        max: u64,
    },
    /// A whole number of seconds, at least `.0`; in testing mode at least 1.
    SweepSeconds(u64),
    Choice(&'static [&'static str]),
    /// An absolute `http` or `https` URL; a trailing `/` is dropped.
    HttpUrl,
    /// Several `HttpUrl`s.
    HttpUrls,
    /// Several whole numbers of seconds.
    Seconds,
    /// Several IP addresses or ranges in CIDR notation.
    Networks,
}

/// Whether a setting has an effect yet.
#[derive(Debug, Clone, Copy)]
pub enum Availability {
    Implemented,
    /// A secret which has an effect.
    ImplementedSecret,
    /// Tunes a feature which is not built: its text is checked, but has no effect.
    Inert,
    /// Enables the feature named here, which is not built.
    EnablesUnbuilt(&'static str),
    /// These values enable a feature which is not built.
    ValuesEnableUnbuilt(&'static [&'static str], &'static str),
}

pub struct Setting {
    /// Name in environment and file.
    pub name: &'static str,
    /// Empty for no default.
    pub default: &'static str,
    pub rule: Rule,
    pub availability: Availability,
}

const fn setting(
    name: &'static str,
    default: &'static str,
    rule: Rule,
    availability: Availability,
) -> Setting {
    Setting { name, default, rule, availability }
}

const fn integer(min: u64, max: u64) -> Rule {
    Rule::Integer { min, max }
}

const MQTT: &str = "MQTT notices";
const KEYCLOAK: &str = "device identity by Keycloak";
const LOGS: &str = "the log store";

use Availability::{EnablesUnbuilt, Implemented, ImplementedSecret, Inert, ValuesEnableUnbuilt};
use Rule::{Bool, Choice, HttpUrl, HttpUrls, Networks, Seconds, SweepSeconds, Text};

const ANY: u64 = u64::MAX;
/// Longer durations are typing mistakes.
pub(super) const TEN_YEARS_SECONDS: u64 = 315_360_000;

/// The table, in the order of contract §13.
pub const SETTINGS: &[Setting] = &[
    setting(
        "COREDOCK_ENV",
        "development",
        Choice(&["development", "testing", "production"]),
        Implemented,
    ),
    setting("DATA_DIR", "./data", Text, Implemented),
    setting("HOST", "", Text, Implemented),
    setting("PORT", "3101", integer(0, 65535), Implemented),
    setting("ALLOW_INSECURE", "false", Bool, Implemented),
    setting("SECRET_KEY", "dev-secret-key-change-in-production", Text, ImplementedSecret),
    setting("DATABASE_URL", "", Text, Implemented),
    setting("DB_POOL_SIZE", "20", integer(1, 10_000), Implemented),
    setting("DB_POOL_MAX_OVERFLOW", "30", integer(0, 10_000), Implemented),
    setting("DB_POOL_TIMEOUT", "10", integer(1, TEN_YEARS_SECONDS), Implemented),
    setting("AUTO_MIGRATE", "true", Bool, Implemented),
    setting("ARTIFACT_STORE", "auto", Choice(&["auto", "s3", "local"]), Implemented),
    setting("ARTIFACT_DIR", "", Text, Implemented),
    setting("S3_ENDPOINT_URL", "", Text, Implemented),
    setting("S3_ACCESS_KEY_ID", "", Text, Implemented),
    setting("S3_SECRET_ACCESS_KEY", "", Text, ImplementedSecret),
    setting("S3_BUCKET_NAME", "iot-support-attachments", Text, Implemented),
    setting("S3_REGION", "us-east-1", Text, Implemented),
    setting("S3_USE_SSL", "false", Bool, Implemented),
    setting("S3_FORCE_PATH_STYLE", "", Bool, Implemented),
    setting("S3_TIMEOUT_SECONDS", "10", integer(1, TEN_YEARS_SECONDS), Implemented),
    setting("OIDC_ENABLED", "false", Bool, Implemented),
    setting("OIDC_ISSUER_URL", "", HttpUrl, Implemented),
    setting("OIDC_CLIENT_ID", "", Text, Implemented),
    setting("OIDC_CLIENT_SECRET", "", Text, ImplementedSecret),
    setting("OIDC_AUDIENCE", "", Text, Implemented),
    setting("OIDC_CLOCK_SKEW_SECONDS", "30", integer(0, TEN_YEARS_SECONDS), Implemented),
    setting("JWKS_TTL_SECONDS", "300", integer(30, TEN_YEARS_SECONDS), Implemented),
    setting("OIDC_TOKEN_URL", "", HttpUrl, Inert),
    setting("OIDC_SCOPES", "openid profile email", Text, Implemented),
    setting("OIDC_COOKIE_NAME", "access_token", Text, Implemented),
    setting("OIDC_REFRESH_COOKIE_NAME", "refresh_token", Text, Implemented),
    setting("OIDC_COOKIE_SECURE", "", Bool, Implemented),
    setting("OIDC_COOKIE_SAMESITE", "Lax", Choice(&["Lax", "Strict", "None"]), Implemented),
    setting("OIDC_COOKIE_PARTITIONED", "false", Bool, Implemented),
    setting("BASEURL", "http://localhost:3100", HttpUrl, Implemented),
    setting("CORS_ORIGINS", "http://localhost:3100", HttpUrls, Implemented),
    setting("PIPELINE_BASEURL", "", HttpUrl, Implemented),
    setting("TRUSTED_PROXY_HOPS", "1", integer(0, 5), Implemented),
    setting("TRUSTED_PROXIES", "127.0.0.0/8,::1", Networks, Implemented),
    setting("HTTP_STALL_SECONDS", "60", integer(20, TEN_YEARS_SECONDS), Implemented),
    setting("MAX_FIRMWARES", "5", integer(1, 1_000_000), Implemented),
    setting("MAX_COREDUMPS", "20", integer(1, 1_000_000), Implemented),
    setting("MAX_FIRMWARE_UPLOAD_BYTES", "67108864", integer(1, ANY), Implemented),
    setting("MAX_FIRMWARE_ENTRY_BYTES", "134217728", integer(1, ANY), Implemented),
    setting("MAX_FIRMWARE_TOTAL_BYTES", "268435456", integer(1, ANY), Implemented),
    setting(
        "FIRMWARE_IMAGE_GATE",
        "standard",
        Choice(&["standard", "full", "appinfo"]),
        Implemented,
    ),
    setting("MAX_COREDUMP_BYTES", "1048576", integer(1, 16_777_216), Implemented),
    setting("COREDUMP_DEDUPE_SECONDS", "86400", integer(0, TEN_YEARS_SECONDS), Implemented),
    setting("RESCUE_SPOOL_BYTES", "268435456", integer(0, ANY), Implemented),
    setting("SYMBOLS_KEEP_DAYS", "180", integer(0, 36_500), Implemented),
    setting("SYMBOLIZER", "auto", Choice(&["auto", "native", "sidecar", "off"]), Implemented),
    setting("SYMBOLIZER_WORKERS", "", integer(1, 64), Implemented),
    setting("PARSE_SIDECAR_URL", "", HttpUrl, Implemented),
    setting("PARSE_SIDECAR_XFER_DIR", "", Text, Implemented),
    setting("PARSE_TIMEOUT_SECONDS", "120", integer(1, TEN_YEARS_SECONDS), Implemented),
    setting("PARSE_LEASE_SECONDS", "180", integer(1, TEN_YEARS_SECONDS), Implemented),
    setting("PARSE_MAX_ATTEMPTS", "3", integer(1, 1000), Implemented),
    setting("PARSE_RETRY_DELAYS", "10,60", Seconds, Implemented),
    setting("FIRMWARE_POLL_SECONDS", "300", integer(30, TEN_YEARS_SECONDS), Implemented),
    setting(
        "DEVICE_CONFIG_MODE",
        "complete",
        Choice(&["complete", "verbatim", "strict"]),
        Implemented,
    ),
    setting("MQTT_URL", "", Text, EnablesUnbuilt(MQTT)),
    setting("MQTT_USERNAME", "", Text, Inert),
    setting("MQTT_PASSWORD", "", Text, Inert),
    setting("MQTT_CLIENT_ID", "coredock", Text, Inert),
    setting("DEVICE_MQTT_URL", "", Text, Inert),
    setting("MQTT_NUDGES_PER_SECOND", "10", integer(0, 1_000_000), Inert),
    setting("SWEEP_INTERVAL_SECONDS", "3600", SweepSeconds(60), Implemented),
    setting("SWEEP_GRACE_SECONDS", "86400", SweepSeconds(60), Implemented),
    setting("ASSETS_DIR", "", Text, Inert),
    setting("COREDUMPS_DIR", "", Text, Inert),
    setting("GRACEFUL_SHUTDOWN_TIMEOUT", "600", integer(0, TEN_YEARS_SECONDS), Implemented),
    setting("SHUTDOWN_DRAIN_SECONDS", "", integer(0, TEN_YEARS_SECONDS), Implemented),
    setting("METRICS_TOKEN", "", Text, ImplementedSecret),
    setting("READYZ_STORE_REQUIRED", "false", Bool, Implemented),
    setting("LOG_LEVEL", "info", Choice(&["trace", "debug", "info", "warn", "error"]), Implemented),
    setting("LOG_FORMAT", "json", Choice(&["json", "text"]), Implemented),
    setting(
        "DEVICE_IDENTITY",
        "auto",
        Choice(&["auto", "keycloak", "builtin"]),
        ValuesEnableUnbuilt(&["keycloak", "builtin"], "device identity"),
    ),
    setting("KEYCLOAK_BASE_URL", "", HttpUrl, EnablesUnbuilt(KEYCLOAK)),
    setting("KEYCLOAK_REALM", "", Text, EnablesUnbuilt(KEYCLOAK)),
    setting("KEYCLOAK_ADMIN_CLIENT_ID", "", Text, EnablesUnbuilt(KEYCLOAK)),
    setting("KEYCLOAK_ADMIN_CLIENT_SECRET", "", Text, EnablesUnbuilt(KEYCLOAK)),
    setting("KEYCLOAK_DEVICE_SCOPE_NAME", "iot-device-audience", Text, Inert),
    setting("DEVICE_BASEURL", "", HttpUrl, Inert),
    setting("WIFI_SSID", "", Text, Inert),
    setting("WIFI_PASSWORD", "", Text, Inert),
    setting("DEVICE_TOKEN_SECONDS", "3600", integer(120, 86_400), Inert),
    setting("ROTATION_CRON", "", Text, EnablesUnbuilt("rotation of device secrets")),
    setting("ROTATION_TIMEOUT_SECONDS", "300", integer(1, TEN_YEARS_SECONDS), Inert),
    setting("ROTATION_CRITICAL_THRESHOLD_DAYS", "7", integer(0, 36_500), Inert),
    setting(
        "LOG_STORE",
        "auto",
        Choice(&["auto", "elasticsearch", "builtin"]),
        ValuesEnableUnbuilt(&["elasticsearch", "builtin"], LOGS),
    ),
    setting("LOG_RETENTION_DAYS", "14", integer(1, 36_500), Inert),
    setting("ELASTICSEARCH_URL", "", HttpUrl, EnablesUnbuilt(LOGS)),
    setting("ELASTICSEARCH_USERNAME", "", Text, Inert),
    setting("ELASTICSEARCH_PASSWORD", "", Text, Inert),
    setting("ELASTICSEARCH_INDEX_PATTERN", "logstash-http-*", Text, Inert),
    setting("FRONTEND_VERSION_URL", "", HttpUrl, EnablesUnbuilt("live events")),
    setting("SSE_HEARTBEAT_INTERVAL", "15", integer(1, 30), Inert),
    setting(
        "ARCHITECTURE_PIPELINE_TRIGGER_URL",
        "",
        HttpUrl,
        EnablesUnbuilt("the architecture webhook"),
    ),
    setting("DRAIN_AUTH_KEY", "", Text, EnablesUnbuilt("draining by request")),
];

/// The setting of a name.
///
/// # Panics
/// When the table does not have the name: code asks for settings by name, and a typing mistake must
/// not read as "not set".
pub fn lookup(name: &str) -> &'static Setting {
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
