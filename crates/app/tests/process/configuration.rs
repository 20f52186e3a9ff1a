//! The errors of faulty configurations (contract §13). `tests/config` tests each rule.

use std::path::Path;

use super::support::files::{files_below, fresh_data_dir};
use super::support::process::{Ended, Process, Settings};

const SECRET: &str = "hunter2-hunter2";

/// Fails unless `coredock serve` refuses these settings, creates nothing and shows no secret.
#[track_caller]
fn refused(directory: &Path, arguments: &[&str], settings: Settings<'_>) -> Ended {
    let before = files_below(directory);
    let arguments = [&["serve"], arguments].concat();
    let ended = Process::run(directory, &arguments, settings).expect(2);
    assert_eq!(files_below(directory), before, "nothing is half-started");
    assert!(!ended.stderr.contains(SECRET) && !ended.stdout.contains(SECRET), "{ended:?}");
    ended
}

#[test]
fn every_faulty_variable_is_named_at_once() {
    let (directory, _) = fresh_data_dir();
    let settings = [
        ("PORT", "eighty"),
        ("HOST", "no such host"),
        ("AUTO_MIGRATE", "perhaps"),
        ("SWEEP_GRACE_SECONDS", "1"),
        ("MAX_FIRMWARES", "0"),
        ("LOG_LEVEL", "loud"),
        ("BASEURL", "localhost"),
        ("DATABASE_URL", "mysql://user:hunter2-hunter2@host/rows"),
    ];
    let ended = refused(directory.path(), &[], &settings);
    for (name, _) in settings {
        assert!(ended.stderr.contains(&format!("{name}: ")), "{name} is not in {}", ended.stderr);
    }
}

#[test]
fn an_unknown_name_in_the_file_is_refused_and_one_in_the_environment_is_not() {
    let (directory, data_dir) = fresh_data_dir();
    std::fs::write(directory.path().join("coredock.toml"), "max_firmware = 3\n").unwrap();
    let ended = refused(directory.path(), &["--config", "coredock.toml"], &[]);
    assert!(ended.stderr.contains("MAX_FIRMWARE: unknown setting"), "{ended:?}");
    let settings = [("COREDOCK_CONFIG", "coredock.toml")];
    refused(directory.path(), &[], &settings);
    let settings = [("MAX_FIRMWARE", "3")];
    Process::run(directory.path(), &["upgrade-db"], &settings).expect(0);
    assert!(data_dir.join("coredock.db").exists());
}

#[test]
fn a_broken_file_is_refused_without_showing_its_secrets() {
    let (directory, _) = fresh_data_dir();
    let broken = format!("metrics_token = \"{SECRET}\nport = 1\n");
    std::fs::write(directory.path().join("coredock.toml"), broken).unwrap();
    let ended = refused(directory.path(), &["--config", "coredock.toml"], &[]);
    assert!(ended.stderr.contains("COREDOCK_CONFIG: "), "{ended:?}");
    assert!(ended.stderr.contains("line 1"), "{ended:?}");
}

#[test]
fn a_part_that_is_not_built_is_refused_by_the_name_of_its_variable() {
    let (directory, _) = fresh_data_dir();
    for (name, value) in [
        ("MQTT_URL", "mqtt://user:hunter2-hunter2@broker"),
        ("KEYCLOAK_ADMIN_CLIENT_SECRET", SECRET),
        ("ELASTICSEARCH_URL", "http://user:hunter2-hunter2@elastic"),
        ("ROTATION_CRON", "0 3 * * *"),
        ("DRAIN_AUTH_KEY", SECRET),
    ] {
        let ended = refused(directory.path(), &[], &[(name, value)]);
        assert!(ended.stderr.contains(&format!("{name}: enables ")), "{name}: {ended:?}");
    }
}

#[test]
fn production_refuses_a_public_secret() {
    let (directory, _) = fresh_data_dir();
    for secret in ["", "dev-secret-key-change-in-production", "short"] {
        let settings = [("COREDOCK_ENV", "production"), ("SECRET_KEY", secret)];
        let ended = refused(directory.path(), &[], &settings);
        assert!(ended.stderr.contains("SECRET_KEY: "), "{ended:?}");
    }
}

#[test]
fn testing_mode_is_refused_in_production() {
    let (directory, _) = fresh_data_dir();
    for name in ["COREDOCK_ENV", "FLASK_ENV"] {
        let settings = [(name, "production"), ("SECRET_KEY", "hunter2-hunter2-hunter2")];
        let ended = refused(directory.path(), &["--testing"], &settings);
        assert!(ended.stderr.contains("--testing cannot be used in production"), "{ended:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_value_that_is_not_utf8_is_refused_and_not_ignored() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let (directory, _) = fresh_data_dir();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_coredock"))
        .args(["upgrade-db"])
        .current_dir(directory.path())
        .env_clear()
        .env("DATA_DIR", OsStr::from_bytes(b"elsewhere-\xff"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DATA_DIR: "), "{output:?}");
    assert_eq!(files_below(directory.path()), [""; 0]);
}

#[test]
fn later_sources_win_over_earlier_ones() {
    let (directory, _) = fresh_data_dir();
    let below = |name: &str| directory.path().join(name).join("coredock.db");
    std::fs::write(directory.path().join("coredock.toml"), "data_dir = \"of-file\"\n").unwrap();
    let file = ("COREDOCK_CONFIG", "coredock.toml");
    let environment = ("DATA_DIR", "of-environment");
    let cases: [(&str, &[&str], Settings<'_>); 4] = [
        ("data", &[], &[]),
        ("of-file", &[], &[file]),
        ("of-environment", &[], &[file, environment]),
        ("of-command-line", &["--data", "of-command-line"], &[file, environment]),
    ];
    for (place, arguments, settings) in cases {
        assert!(!below(place).exists());
        let arguments = [&["upgrade-db"], arguments].concat();
        Process::run(directory.path(), &arguments, settings).expect(0);
        assert!(below(place).exists(), "not in {place}");
    }
}
