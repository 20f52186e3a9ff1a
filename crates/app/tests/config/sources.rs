//! The sources of settings: the file, the environment and the command line.

use std::path::Path;

use coredock::config::{Environment, Overrides};

use crate::{ConfigFile, assert_accepted, assert_refused, config, faults_with, read_with};

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
fn names_of_a_legacy_deployment_are_accepted_and_have_no_effect() {
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
    assert_eq!(config.firmware.max_versions, 7);
    for wrong in ["port = 4000.5", "port = 1979-05-27", "[port]\nnumber = 4000", "port = [1, [2]]"]
    {
        let found = ConfigFile::new(wrong).read(&[]).unwrap_err().0;
        assert!(found.iter().all(|fault| fault.starts_with("PORT: ")), "{wrong}: {found:?}");
    }
}

#[test]
fn a_file_that_is_absent_or_broken_is_one_fault() {
    let absent = [("COREDOCK_CONFIG", "/nowhere/coredock.toml")];
    assert_refused("COREDOCK_CONFIG", &absent);
    let broken = ConfigFile::new("secret_key = \"hunter2-hunter2-hunter2\nport = 1\n");
    let found = broken.read(&[]).unwrap_err().0;
    assert!(found.len() == 1 && found[0].starts_with("COREDOCK_CONFIG: "), "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn later_sources_take_precedence() {
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
