//! The rules of contract §13, setting by setting: `values` for the types of values, `sources` for
//! files and variables, `parts` for the settings of each part.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod identity;
mod parts;
mod sources;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coredock::config::settings::SETTINGS;
use coredock::config::{
    ArtifactStoreConfig, Config, ConfigError, DatabasePlace, Environment, Overrides,
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

/// Fails unless there is exactly one fault, of the setting `name`.
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
        DatabasePlace::Postgres(url) => panic!("expected a file, found {url}"),
    }
}

#[test]
fn without_any_setting_the_defaults_of_the_contract_apply() {
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
    assert_eq!((config.database.pool_size, config.database.overflow), (20, 30));
    assert!(config.database.auto_migrate);
    assert_eq!(config.database.wait, Duration::from_secs(10));
    assert_eq!(config.firmware.max_versions, 5);
    assert_eq!(config.firmware.upload_bytes, 64 << 20);
    assert_eq!(config.firmware.bundle.entry_bytes, 128 << 20);
    assert_eq!(config.firmware.bundle.total_bytes, 256 << 20);
    assert!(matches!(config.firmware.bundle.gate, ImageGate::Standard));
    assert_eq!(config.firmware.symbol_retention, Duration::from_hours(180 * 24));
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
