//! A start on PostgreSQL and S3, and its errors if they are unusable (contract §9, §14.1).

use std::net::{Ipv4Addr, TcpListener};

use coredock_testkit::postgres::{self, TestDatabase};
use coredock_testkit::s3::{S3TestServer, fresh_bucket};
use coredock_testkit::s3_proxy::{S3Proxy, Trouble};
use coredock_testkit::tcp_proxy::{Path, TcpProxy};
use serde_json::Value;

use super::support::files::fresh_data_dir;
use super::support::process::Process;
use super::support::server::Server;
use super::support::wait_until;

/// Settings of a server on this database and this bucket.
fn settings(database: &str, s3: &S3TestServer, bucket: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.to_owned()),
        ("DB_POOL_TIMEOUT", "2".to_owned()),
        ("S3_ENDPOINT_URL", s3.endpoint.clone()),
        ("S3_ACCESS_KEY_ID", s3.access_key_id.clone()),
        ("S3_SECRET_ACCESS_KEY", s3.secret_access_key.clone()),
        ("S3_BUCKET_NAME", bucket.to_owned()),
        ("S3_TIMEOUT_SECONDS", "2".to_owned()),
    ]
}

fn start(settings: &[(&'static str, String)]) -> (tempfile::TempDir, Server) {
    let (directory, data_dir) = fresh_data_dir();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::start(&data_dir, &settings);
    (directory, server)
}

/// Fails unless the start ends at once with one line that contains `text`.
fn refused(settings: &[(&'static str, String)], text: &str) {
    let (directory, _) = fresh_data_dir();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let ended = Process::run(directory.path(), &arguments, &settings).expect(2);
    assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    assert_eq!(ended.stderr.trim().lines().count(), 1, "one sentence: {}", ended.stderr);
}

async fn readiness(server: &Server) -> Value {
    server.get("/health/readyz").await.json()
}

/// Waits until the readiness, which the server caches for 10 s, fulfils `is_right`.
async fn wait_for_readiness(server: &Server, is_right: impl Fn(&Value) -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(40);
    loop {
        let found = readiness(server).await;
        if is_right(&found) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{found}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_serve_one_database_and_one_bucket() {
    let (database, s3, bucket) = (TestDatabase::empty(), S3TestServer::s3s(), fresh_bucket());
    let settings = settings(&database.url(), &s3, &bucket);
    let (_one_dir, one) = start(&settings);
    let (_two_dir, two) = start(&settings);
    let ready = readiness(&one).await;
    assert_eq!((&ready["ready"], &ready["artifact_store"]["kind"]), (&true.into(), &"s3".into()));
    one.post_model("demo").await.expect(201);
    let listed = two.get("/api/device-models").await.expect(200).json();
    assert_eq!(listed["count"], 1);
    one.stop();
    two.stop();
    let mark = S3TestServer::s3s_root().join(bucket).join("coredock/owner");
    let id = database.texts("SELECT value FROM settings WHERE key = 'installation_id'");
    let mark = std::fs::read_to_string(mark).unwrap();
    assert_eq!(mark.lines().next(), Some(id[0].as_str()), "one installation, one mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_waits_for_an_unreachable_database() {
    let (database, s3) = (TestDatabase::empty(), S3TestServer::s3s());
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let url = database.url();
    let (rest, name) = url.rsplit_once('/').unwrap();
    let (user, address) = rest.rsplit_once('@').unwrap();
    let through = format!("{user}@127.0.0.1:{port}/{name}");
    let (_directory, server) = start(&settings(&through, &s3, &fresh_bucket()));
    server.get("/health/healthz").await.expect(200);
    let found = server.get("/health/readyz").await.expect(503).json();
    assert_eq!(found["database"]["connected"], false, "{found}");
    server.get("/api/device-models").await.expect_outage();

    let _proxy = TcpProxy::start_at(port, vec![address.to_owned()]).await;
    wait_for_readiness(&server, |found| found["ready"] == true).await;
    server.get("/api/device-models").await.expect(200);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_store_degrades_the_start_until_it_is_reachable() {
    let (database, s3) = (TestDatabase::empty(), S3TestServer::s3s());
    let proxy = TcpProxy::start(vec![s3.endpoint.trim_start_matches("http://").to_owned()]).await;
    proxy.set(Path::Refused);
    let away = S3TestServer { endpoint: format!("http://{}", proxy.authority()), ..s3.clone() };
    let (_directory, server) = start(&settings(&database.url(), &away, &fresh_bucket()));
    let found = server.get("/health/readyz").await.expect(200).json();
    assert_eq!(found["degraded"], serde_json::json!(["artifact_store"]));
    proxy.set(Path::Open);
    wait_for_readiness(&server, |found| found["degraded"] == serde_json::json!([])).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fault_of_a_store_is_logged_in_one_sentence() {
    let (database, s3) = (TestDatabase::empty(), S3TestServer::s3s());
    let stranger = S3TestServer { secret_access_key: "hunter2-hunter2".into(), ..s3.clone() };
    let not_s3 = S3Proxy::start(&s3);
    not_s3.inject("/", Trouble::page(200), usize::MAX);
    let cases = [
        (stranger, "S3 does not accept S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"),
        (not_s3.server(&s3), "the server of S3_ENDPOINT_URL does not answer like S3"),
    ];
    for (wrong, sentence) in cases {
        let (_directory, server) = start(&settings(&database.url(), &wrong, &fresh_bucket()));
        let found = server.get("/health/readyz").await.expect(200).json();
        assert_eq!(found["degraded"], serde_json::json!(["artifact_store"]));
        wait_until("the fault is logged", || {
            let log = server.process().log();
            log.iter().any(|line| line.to_string().contains(sentence))
        });
        let log = server.process().log();
        assert!(log.iter().all(|line| !line.to_string().contains("hunter2")), "{log:?}");
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_waiting_cannot_fix_ends_the_start() {
    let (database, s3) = (TestDatabase::empty(), S3TestServer::s3s());
    let bucket = fresh_bucket();
    let at = |url: &str| settings(url, &s3, &bucket);
    let server = postgres::server();
    refused(&at(&postgres::url_of(&server, "nowhere")), "database \"nowhere\" does not exist");
    let stranger = server.replace("postgres@", "stranger:hunter2@");
    refused(&at(&stranger), "role \"stranger\" does not exist");
    let tls = format!("{server}?sslmode=require");
    refused(&at(&tls), "server does not support TLS");
    let http = s3.endpoint.trim_start_matches("http://");
    refused(&at(&format!("postgres://me@{http}/core")), "is not a PostgreSQL server");
    database.execute("CREATE TABLE recipes (id integer)");
    refused(&at(&database.url()), "expected no tables or those of Coredock, found others");
    let (legacy, newer) = (TestDatabase::empty(), TestDatabase::empty());
    legacy.execute("CREATE TABLE alembic_version (version_num varchar(32))");
    refused(&at(&legacy.url()), "legacy deployment");
    let (_directory, running) = start(&at(&newer.url()));
    running.stop();
    newer.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000001')");
    refused(&at(&newer.url()), "upgraded by a newer Coredock");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_beside_a_running_server_and_name_what_is_unreachable() {
    let (database, s3, bucket) = (TestDatabase::empty(), S3TestServer::s3s(), fresh_bucket());
    let settings = settings(&database.url(), &s3, &bucket);
    let (_directory, server) = start(&settings);
    let run = |arguments: &[&str], url: &str| {
        let (directory, _) = fresh_data_dir();
        let own: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, if *name == "DATABASE_URL" { url } else { value }))
            .collect();
        Process::run(directory.path(), arguments, &own)
    };
    let url = database.url();
    let status = run(&["db-status"], &url).expect(0);
    assert!(status.stdout.contains("applied "), "{}", status.stdout);
    run(&["upgrade-db"], &url).expect(0);
    let swept = run(&["sweep", "--dry-run"], &url).expect(0);
    assert!(swept.stdout.contains("dry run"), "{}", swept.stdout);
    let away = "postgres://me:hunter2@127.0.0.1:1/core";
    for command in [&["db-status"][..], &["upgrade-db"], &["sweep"]] {
        let ended = run(command, away).expect(1);
        assert!(ended.stderr.contains("postgres://me@127.0.0.1:1/core"), "{}", ended.stderr);
        assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    }
    server.stop();
}
