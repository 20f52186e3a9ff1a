//! A PostgreSQL server that is unreachable, stalls or drops its connections, and recovers. The
//! server under test is never restarted.

use std::time::{Duration, Instant};

use coredock_testkit::tcp_proxy::{Path, TcpProxy};
use futures::StreamExt;

use crate::support::place::Place;
use crate::support::{TestServer, wait_until};

/// A server whose connections to its database can be broken.
async fn behind_proxy(settings: &[(&str, &str)]) -> (TestServer, TcpProxy) {
    let place = Place::on_servers();
    let url = place.database_url();
    let (rest, database) = url.rsplit_once('/').unwrap();
    let (user, address) = rest.rsplit_once('@').unwrap();
    let proxy = TcpProxy::start(vec![address.to_owned()]).await;
    let through = format!("{user}@{}/{database}", proxy.authority());
    let settings = [&[("DATABASE_URL", through.as_str())], settings].concat();
    (TestServer::at(place, &settings).await, proxy)
}

/// Waits until a device is answered with a 200 again.
async fn wait_for_recovery(server: &TestServer, key: &str) {
    let path = format!("/api/iot/firmware-version?device_key={key}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.get(&path).await.status != 200 {
        assert!(
            Instant::now() < deadline,
            "the database is reachable, but the server has not recovered"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_an_outage_and_the_server_recovers_by_itself() {
    let (server, proxy) = behind_proxy(&[]).await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    let key = demo.device.key.clone();
    let config = format!("/api/iot/config?device_key={key}");
    let fresh = server.get(&config).await.expect(200).body;

    proxy.set(Path::Refused);
    let stale = server.get(&config).await.expect(200);
    assert_eq!((stale.header("x-coredock-stale"), &stale.body), ("true", &fresh));
    let poll = format!("/api/iot/firmware-version?device_key={key}");
    server.get(&poll).await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.post_dump(&key, "1.0.0", "dump").await.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(server.rescued().len(), 1, "the dump waits in the rescue spool");
    server.upload_demo("1.1.0").await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.get("/api/devices").await.expect_error(503, "SERVICE_UNAVAILABLE");

    proxy.set(Path::Open);
    wait_for_recovery(&server, &key).await;
    let rows = server.rows();
    wait_until("the dump is recorded", || rows.count("coredumps", "occurrences = 1") == 1).await;
    wait_until("the spool is empty", || server.rescued().is_empty()).await;
    server.upload_demo("1.1.0").await.expect(200);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_database_delays_no_request_for_long() {
    let settings = [("DB_POOL_SIZE", "2"), ("DB_POOL_MAX_OVERFLOW", "0"), ("DB_POOL_TIMEOUT", "1")];
    let (server, proxy) = behind_proxy(&settings).await;
    let demo = server.demo().await;
    let key = demo.device.key.clone();
    let config = format!("/api/iot/config?device_key={key}");
    server.get(&config).await.expect(200);

    proxy.set(Path::Stalled);
    let began = Instant::now();
    let poll = format!("/api/iot/firmware-version?device_key={key}");
    let polls = (0..12).map(|_| server.get(&poll));
    for answer in futures::future::join_all(polls).await {
        answer.expect_error(503, "SERVICE_UNAVAILABLE");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let stale = server.get(&config).await.expect(200);
    assert_eq!(stale.header("x-coredock-stale"), "true");
    server.get("/health/readyz").await.expect(503);

    proxy.set(Path::Open);
    wait_for_recovery(&server, &key).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_lost_under_load_are_outages_and_nothing_else() {
    let (server, proxy) = behind_proxy(&[("MAX_COREDUMPS", "1000")]).await;
    let demo = server.demo().await;
    let key = demo.device.key.clone();
    let posts = (0..200).map(|n| {
        let (server, proxy, key) = (&server, &proxy, &key);
        async move {
            if n % 20 == 19 {
                proxy.reset();
            }
            server.post_dump(key, "1.0.0", format!("dump {n}")).await.status
        }
    });
    let statuses: Vec<u16> = futures::stream::iter(posts).buffer_unordered(8).collect().await;
    assert!(statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    wait_until("the spool is empty", || server.rescued().is_empty()).await;
    let rows = server.rows();
    wait_until("every dump is recorded once", || rows.count("coredumps", "occurrences = 1") == 200)
        .await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_whose_connection_breaks_are_done_or_undone() {
    let (server, proxy) = behind_proxy(&[("MAX_FIRMWARES", "50")]).await;
    let demo = server.demo().await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let version = format!("1.0.{n}");
        let breaking = async {
            tokio::time::sleep(Duration::from_millis(n * 3)).await;
            proxy.reset();
        };
        let (answer, ()) = tokio::join!(server.upload_demo(&version), breaking);
        match answer.status {
            200 => acknowledged.push(version),
            // Committed or not. A lease that is left delays a repetition.
            status => assert_eq!(status, 503, "{answer:?}"),
        }
    }
    // Each connection that was cut may cause one more failure, at its next use.
    let mut failures = 0;
    while server.upload_demo("2.0.0").await.status != 200 {
        failures += 1;
        assert!(failures < 5, "the database is reachable again");
    }
    let versions = server.versions(demo.model_id).await;
    assert_eq!(versions[0], "2.0.0");
    assert!(acknowledged.iter().all(|version| versions.contains(version)), "{versions:?}");
    server.finish().await;
}
