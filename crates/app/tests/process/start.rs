//! What a start needs, and its errors (contract §3.6, §13, §14.1).

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::json;

use super::support::files::{files_below, fresh_data_dir};
use super::support::process::Process;
use super::support::server::Server;
use super::support::wait_until;

#[tokio::test]
async fn without_configuration_it_serves_loopback_and_keeps_data_beside_it() {
    let (directory, data_dir) = fresh_data_dir();
    // The default port may be in use on this machine.
    let server = Server::start_with(directory.path(), &["serve"], &[("PORT", "0")], &data_dir);
    assert_eq!(server.address().ip(), Ipv4Addr::LOCALHOST);
    assert!(data_dir.join("coredock.db").is_file());
    assert!(data_dir.join("artifacts").is_dir());
    let alive = server.get("/health/healthz").await.expect(200);
    assert_eq!(alive.json(), json!({"ready": true, "status": "alive"}));
    let ready = server.get("/health/readyz").await.expect(200);
    assert_eq!(
        ready.json(),
        json!({
            "status": "ready", "ready": true, "degraded": [],
            "database": {"ok": true, "connected": true, "migrations_pending": 0},
            "artifact_store": {"ok": true, "kind": "local", "writable": true},
            "symbolizer": {"ok": true, "engine": "native"},
            "mqtt": {"ok": true, "enabled": false, "connected": false},
            "identity_provider": {"ok": true, "enabled": false},
        })
    );
    let ended = server.stop();
    assert_eq!(ended.stderr, "");
}

#[test]
fn v42_an_open_address_needs_allow_insecure() {
    let (directory, data_dir) = fresh_data_dir();
    let settings = [("HOST", "0.0.0.0"), ("PORT", "0")];
    let ended = Process::run(directory.path(), &["serve"], &settings).expect_misuse("HOST: ");
    assert!(ended.stderr.contains("ALLOW_INSECURE=true"), "{ended:?}");
    assert_eq!(ended.stdout, "", "it never listened");
    assert!(!data_dir.exists(), "nothing is half-started");
}

#[tokio::test]
async fn v42_with_allow_insecure_it_serves_an_open_address_and_warns() {
    let (directory, data_dir) = fresh_data_dir();
    let settings = [("HOST", "0.0.0.0"), ("PORT", "0"), ("ALLOW_INSECURE", "true")];
    let server = Server::start_with(directory.path(), &["serve"], &settings, &data_dir);
    assert!(server.address().ip().is_unspecified());
    TcpStream::connect((Ipv4Addr::LOCALHOST, server.address().port())).unwrap();
    wait_until("a warning is logged", || {
        server.process().log().iter().any(|line| {
            line["level"] == "WARN" && line["message"].as_str().unwrap().contains("ALLOW_INSECURE")
        })
    });
    server.stop();
}

#[tokio::test]
async fn a_port_in_use_is_reported_and_the_data_stays_usable() {
    let (directory, data_dir) = fresh_data_dir();
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let arguments = ["serve", "--data", "data", "--listen", &address];
    let ended = Process::run(directory.path(), &arguments, &[]);
    ended.expect_misuse(&format!("cannot listen on {address}: "));
    let server = Server::start(&data_dir, &[]);
    server.get("/health/readyz").await.expect(200);
    server.stop();
}

#[test]
fn an_impossible_data_directory_is_reported() {
    let (directory, _) = fresh_data_dir();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let arguments = ["serve", "--data", "file/data", "--listen", "127.0.0.1:0"];
    Process::run(directory.path(), &arguments, &[])
        .expect_misuse("data directory file/data cannot be used");
    assert_eq!(files_below(directory.path()), ["file"]);
}

#[test]
fn a_wrong_command_line_is_misuse() {
    let (directory, _) = fresh_data_dir();
    for (arguments, about) in [
        (&[][..], "Usage"),
        (&["serv"], "serv"),
        (&["serve", "--lissen", "127.0.0.1:0"], "--lissen"),
        (&["serve", "--listen", "127.0.0.1"], "--listen"),
        (&["serve", "--listen", "127.0.0.1:port"], "PORT"),
        (&["sweep", "--dry-run", "--confirm"], "--confirm"),
    ] {
        Process::run(directory.path(), arguments, &[]).expect_misuse(about);
    }
    assert_eq!(files_below(directory.path()), [""; 0]);
}
