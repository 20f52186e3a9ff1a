//! The shutdown of the server (contract §14.4).

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use coredock_testkit::firmware::{bundle, image};
use rustix::process::Signal;
use serde_json::json;

use super::support::files::fresh_data_dir;
use super::support::server::{Server, large_image};
use super::support::{PATIENCE, raw, wait_until};

fn wait_until_it_refuses_connections(server: &Server) {
    wait_until("new connections are refused", || TcpStream::connect(server.address()).is_err());
}

#[tokio::test]
async fn with_only_idle_connections_it_ends_within_two_seconds() {
    let (_directory, data_dir) = fresh_data_dir();
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&data_dir, &[]);
        let silent = raw::connect(server.address());
        let mut idle = raw::connect(server.address());
        idle.write_all(b"GET /health/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        raw::read_head(&mut idle);
        server.process().signal(signal);
        let began = Instant::now();
        server.wait().expect(0);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        drop((silent, idle));
    }
}

#[tokio::test]
async fn while_it_drains_it_is_unready_and_still_answers() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[("SHUTDOWN_DRAIN_SECONDS", "2")]);
    server.get("/health/readyz").await.expect(200);
    server.terminate();
    let began = Instant::now();
    let unready = loop {
        let answer = server.get("/health/readyz").await;
        if answer.status == 503 {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(1), "still ready");
    };
    assert_eq!(unready.json(), json!({"ready": false, "status": "shutting down"}));
    drop(TcpStream::connect(server.address()).unwrap());
    server.get("/health/healthz").await.expect(200);
    server.post_model("demo").await.expect(201);
    let answered = began.elapsed();
    server.wait().expect(0);
    let took = began.elapsed();
    let drained = answered.max(Duration::from_secs(2));
    assert!(
        took > Duration::from_millis(1900) && took < drained + Duration::from_secs(2),
        "{took:?}, the last answer after {answered:?}"
    );
}

#[tokio::test]
async fn a_download_in_flight_is_completed() {
    let (_directory, data_dir) = fresh_data_dir();
    let mut server = Server::start(&data_dir, &[]);
    let device = server.publish_large_demo().await;
    let download = raw::begin_download(server.address(), &device);
    server.terminate();
    wait_until_it_refuses_connections(&server);
    assert!(!server.has_ended());
    assert!(raw::read_rest(download) == large_image(), "the download was cut");
    server.wait().expect(0);
}

#[tokio::test]
async fn an_upload_in_flight_is_completed() {
    let (_directory, data_dir) = fresh_data_dir();
    let mut server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    let second = bundle("1.0.1");
    let half = second.len() / 2;
    let mut upload = raw::begin_upload(server.address(), &second, half);
    server.wait_for_upload().await;
    server.terminate();
    wait_until_it_refuses_connections(&server);
    assert!(!server.has_ended());
    upload.write_all(&second[half..]).unwrap();
    let head = raw::read_head(&mut upload);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    server.wait().expect(0);
    let server = Server::start(&data_dir, &[]);
    assert_eq!(server.versions().await, ["1.0.1", "1.0.0"]);
    server.stop();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (_directory, data_dir) = fresh_data_dir();
    let mut server = Server::start(&data_dir, &[]);
    let device = server.publish_large_demo().await;
    let stalled = raw::begin_download(server.address(), &device);
    server.terminate();
    wait_until_it_refuses_connections(&server);
    assert!(!server.has_ended());
    // A signal right after the first one may be merged with it.
    wait_until("a further signal ends it", || {
        if !server.has_ended() {
            server.terminate();
        }
        server.has_ended()
    });
    server.wait().expect(0);
    assert!(raw::read_rest(stalled).len() < large_image().len());
}

#[tokio::test]
async fn a_stalled_download_is_cut_when_its_grace_is_over() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[("GRACEFUL_SHUTDOWN_TIMEOUT", "1")]);
    let device = server.publish_large_demo().await;
    let stalled = raw::begin_download(server.address(), &device);
    server.terminate();
    let began = Instant::now();
    server.wait().expect(0);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    assert!(raw::read_rest(stalled).len() < large_image().len());
}

#[tokio::test]
async fn an_answered_upload_survives_a_restart() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.publish_demo(&["1.0.0"]).await;
    let device = server.create_device("{}").await;
    server.stop();
    let server = Server::start(&data_dir, &[]);
    let path = format!("/api/iot/firmware?device_key={device}");
    assert_eq!(server.get(&path).await.expect(200).body, image("1.0.0", 4096));
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < PATIENCE);
}
