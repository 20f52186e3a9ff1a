//! Configuration (contract §13): read once at start; all faults are reported together.

mod artifact_store;
mod coredumps;
mod database;
mod identity;
mod reader;
pub mod settings;
mod sources;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use coredock_domain::devices::config::ConfigMode;
use coredock_domain::firmware::{BundleRules, ImageGate};

pub use artifact_store::ArtifactStoreConfig;
pub use coredumps::{CoredumpConfig, SidecarConfig, SymbolizerConfig};
pub use database::{DatabaseConfig, DatabasePlace};
pub use identity::{CookieConfig, OidcConfig};
use ipnet::IpNet;
use reader::Reader;
use sources::Sources;

/// Minimum length of `SECRET_KEY` in production, in characters.
const MIN_SECRET_CHARS: usize = 16;

/// A text which `Debug` does not show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The kind of deployment (`COREDOCK_ENV`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Development,
    Testing,
    Production,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub environment: Environment,
    /// Directory of all data on this machine (`DATA_DIR`).
    pub data_dir: PathBuf,
    pub http: HttpConfig,
    /// `None` without authentication.
    pub oidc: Option<OidcConfig>,
    pub database: DatabaseConfig,
    pub artifacts: ArtifactStoreConfig,
    pub firmware: FirmwareConfig,
    pub devices: DeviceConfigRules,
    pub coredumps: CoredumpConfig,
    pub sweep: SweepConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
}

#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// Whether an address other than loopback is allowed without authentication.
    pub allow_insecure: bool,
    pub cors_origins: Vec<String>,
    /// Where browsers find the server (`BASEURL`).
    pub base_url: String,
    /// Where pipelines find it (`PIPELINE_BASEURL`).
    pub pipeline_base_url: Option<String>,
    /// How many of the last entries of `X-Forwarded-For` are trusted.
    pub trusted_proxy_hops: usize,
    /// Peers whose forwarded headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Longest transfer without a byte of progress.
    pub stall: Duration,
    /// `None`: `/metrics` is open.
    pub metrics_token: Option<Secret>,
    /// Whether the server is not ready while the artifact store does not answer.
    pub store_decides_readiness: bool,
}

#[derive(Debug, Clone)]
pub struct FirmwareConfig {
    /// Largest upload in bytes.
    pub upload_bytes: u64,
    pub bundle: BundleRules,
    /// Versions of a model that retention keeps.
    pub max_versions: u32,
    /// Time between the deletion of the last version of a build and that of its symbol file.
    pub symbol_retention: Duration,
}

#[derive(Debug, Clone)]
pub struct DeviceConfigRules {
    /// How strictly configurations are checked and served.
    pub mode: ConfigMode,
    /// The poll interval that devices are asked to use.
    pub poll: Duration,
}

#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// Time between two runs.
    pub interval: Duration,
    /// Objects younger than this are never removed.
    pub grace: Duration,
}

#[derive(Debug, Clone)]
pub struct ShutdownConfig {
    /// How long requests in flight may take.
    pub grace: Duration,
    /// How long the listener stays open while readiness already fails.
    pub drain: Duration,
}

#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `trace` … `error`.
    pub level: String,
    /// One JSON object per line; else text for terminals.
    pub json: bool,
}

/// The options of the command line, which take precedence over file and environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--listen HOST:PORT`
    pub listen: Option<String>,
    /// `--data`
    pub data_dir: Option<PathBuf>,
    /// `--testing`
    pub testing: bool,
}

/// All faults of the configuration, one line each.
#[derive(Debug, thiserror::Error)]
#[error("configuration is not usable:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Directory of temporary files.
    pub fn spool_dir(&self) -> PathBuf {
        self.data_dir.join("tmp")
    }

    /// Whether the database or the artifact store is on a disk of this machine.
    pub fn uses_disks(&self) -> bool {
        matches!(self.database.place, DatabasePlace::Sqlite(_))
            || matches!(self.artifacts, ArtifactStoreConfig::Local(_))
    }

    /// Reads file, environment and command line.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::read(overrides, environment())
    }

    /// Reads the file and these variables.
    pub fn read(
        overrides: &Overrides,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let mut faults = Vec::new();
        let sources = gather(overrides, &variables, &mut faults);
        if overrides.testing && sources.get("COREDOCK_ENV") == Some("production") {
            faults.push("COREDOCK_ENV: --testing cannot be used in production".into());
        }
        let sources = with_overrides(sources, overrides, &mut faults);
        let mut reader = Reader::new(&sources, faults);
        let config = assemble(&mut reader);
        let faults = reader.finish();
        if faults.is_empty() { Ok(config) } else { Err(ConfigError(faults)) }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    })
}

fn gather(
    overrides: &Overrides,
    variables: &BTreeMap<String, String>,
    faults: &mut Vec<String>,
) -> Sources {
    let mut sources = Sources::default();
    let variable = variables.get("COREDOCK_CONFIG").filter(|path| !path.is_empty());
    if let Some(path) = overrides.file.clone().or_else(|| variable.map(PathBuf::from)) {
        sources.read_file(&path, faults);
    }
    sources.read_environment(variables, faults);
    if sources.get("COREDOCK_ENV").is_none()
        && let Some(legacy) = sources.get("FLASK_ENV").map(str::to_owned)
    {
        sources.set("COREDOCK_ENV", legacy);
    }
    sources
}

fn with_overrides(
    mut sources: Sources,
    overrides: &Overrides,
    faults: &mut Vec<String>,
) -> Sources {
    if overrides.testing {
        sources.set("COREDOCK_ENV", "testing".into());
    }
    if let Some(data_dir) = &overrides.data_dir {
        sources.set("DATA_DIR", data_dir.display().to_string());
    }
    if let Some(listen) = &overrides.listen {
        match listen.rsplit_once(':') {
            Some((host, port)) => {
                sources.set("HOST", host.trim_matches(['[', ']']).to_owned());
                sources.set("PORT", port.to_owned());
            }
            None => faults.push(format!("--listen: expected HOST:PORT, found {listen}")),
        }
    }
    sources
}

fn assemble(reader: &mut Reader<'_>) -> Config {
    let environment = match reader.text("COREDOCK_ENV").as_str() {
        "production" => Environment::Production,
        "testing" => Environment::Testing,
        _ => Environment::Development,
    };
    if environment == Environment::Production {
        check_secret(reader);
    }
    let data_dir = PathBuf::from(reader.text("DATA_DIR"));
    let oidc = identity::read(reader);
    Config {
        environment,
        http: http(reader, oidc.is_some(), environment),
        oidc,
        database: database::read(reader, &data_dir),
        artifacts: artifact_store::read(reader, &data_dir),
        firmware: firmware(reader),
        devices: DeviceConfigRules {
            mode: match reader.text("DEVICE_CONFIG_MODE").as_str() {
                "verbatim" => ConfigMode::Verbatim,
                "strict" => ConfigMode::Strict,
                _ => ConfigMode::Complete,
            },
            poll: reader.seconds("FIRMWARE_POLL_SECONDS"),
        },
        coredumps: coredumps::read(reader),
        sweep: SweepConfig {
            interval: reader.seconds("SWEEP_INTERVAL_SECONDS"),
            grace: reader.seconds("SWEEP_GRACE_SECONDS"),
        },
        shutdown: ShutdownConfig {
            grace: reader.seconds("GRACEFUL_SHUTDOWN_TIMEOUT"),
            drain: Duration::from_secs(
                reader
                    .optional_integer("SHUTDOWN_DRAIN_SECONDS")
                    .unwrap_or(if environment == Environment::Production { 5 } else { 0 }),
            ),
        },
        log: LogConfig {
            level: reader.text("LOG_LEVEL"),
            json: reader.text("LOG_FORMAT") == "json",
        },
        data_dir,
    }
}

fn check_secret(reader: &mut Reader<'_>) {
    let secret = reader.text("SECRET_KEY");
    if settings::lookup("SECRET_KEY").default == secret {
        reader.fault("SECRET_KEY: must be set in production; the default is public");
        return;
    }
    let length = secret.chars().count();
    if length < MIN_SECRET_CHARS {
        reader.fault(format!(
            "SECRET_KEY: expected at least {MIN_SECRET_CHARS} characters in production, \
             found {length}"
        ));
    }
}

fn http(reader: &mut Reader<'_>, has_oidc: bool, environment: Environment) -> HttpConfig {
    let allow_insecure = reader.boolean("ALLOW_INSECURE");
    // The routes of testing mode need no token.
    let is_closed = has_oidc && environment != Environment::Testing;
    let default = if is_closed { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let listen = listen_address(reader, default);
    if !listen.ip().is_loopback() && has_oidc && !is_closed && !allow_insecure {
        reader.fault(format!(
            "HOST: in testing mode Coredock listens on loopback addresses only, not on {}, \
             because some of its routes need no token; ALLOW_INSECURE=true permits it",
            listen.ip()
        ));
    }
    if !listen.ip().is_loopback() && !has_oidc && !allow_insecure {
        reader.fault(format!(
            "HOST: without OIDC Coredock listens on loopback addresses only, not on {}; \
             set OIDC_ENABLED=true, or ALLOW_INSECURE=true to let everybody on the network \
             administer it",
            listen.ip()
        ));
    }
    HttpConfig {
        listen,
        allow_insecure,
        cors_origins: reader.urls("CORS_ORIGINS"),
        base_url: reader.urls("BASEURL").concat(),
        pipeline_base_url: reader.urls("PIPELINE_BASEURL").pop(),
        trusted_proxy_hops: usize::try_from(reader.integer("TRUSTED_PROXY_HOPS")).unwrap_or(1),
        trusted_proxies: reader.networks("TRUSTED_PROXIES"),
        stall: reader.seconds("HTTP_STALL_SECONDS"),
        metrics_token: reader.optional("METRICS_TOKEN").map(Secret),
        store_decides_readiness: reader.boolean("READYZ_STORE_REQUIRED"),
    }
}

fn listen_address(reader: &mut Reader<'_>, default: Ipv4Addr) -> SocketAddr {
    let port = u16::try_from(reader.integer("PORT")).unwrap_or_default();
    let fallback = SocketAddr::new(IpAddr::V4(default), port);
    let Some(host) = reader.optional("HOST") else { return fallback };
    let resolved = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut all| all.next());
    resolved.unwrap_or_else(|| {
        reader
            .fault(format!("HOST: expected an address or a host name that resolves, found {host}"));
        fallback
    })
}

fn firmware(reader: &mut Reader<'_>) -> FirmwareConfig {
    let entry_bytes = reader.integer("MAX_FIRMWARE_ENTRY_BYTES");
    let total_bytes = reader.integer("MAX_FIRMWARE_TOTAL_BYTES");
    if total_bytes < entry_bytes {
        reader.fault(format!(
            "MAX_FIRMWARE_TOTAL_BYTES: must be at least MAX_FIRMWARE_ENTRY_BYTES ({entry_bytes}), \
             found {total_bytes}"
        ));
    }
    let gate = match reader.text("FIRMWARE_IMAGE_GATE").as_str() {
        "full" => ImageGate::Full,
        "appinfo" => ImageGate::AppInfo,
        _ => ImageGate::Standard,
    };
    FirmwareConfig {
        upload_bytes: reader.integer("MAX_FIRMWARE_UPLOAD_BYTES"),
        bundle: BundleRules { entry_bytes, total_bytes, gate },
        max_versions: u32::try_from(reader.integer("MAX_FIRMWARES")).unwrap_or(u32::MAX),
        symbol_retention: Duration::from_secs(reader.integer("SYMBOLS_KEEP_DAYS") * 86_400),
    }
}
