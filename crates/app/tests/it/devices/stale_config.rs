//! Devices get their last configuration while the database is unreachable (contract §4.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use coredock_testkit::gate::Gate;
use serde_json::json;

use crate::support::failing_devices::{FailingDevices, ReadFault};
use crate::support::{Answer, TestServer};

const CONFIG: &str = r#"{ "deviceName":"Hall","deviceEntityId" : "hall","n":1}"#;

struct Bench {
    server: TestServer,
    database: Arc<FailingDevices>,
}

impl Bench {
    async fn start() -> Self {
        let database = Arc::new(FailingDevices::default());
        let server = TestServer::wrapped(|adapters| database.wrap(adapters)).await;
        Self { server, database }
    }

    async fn config(&self, key: &str) -> Answer {
        self.server.get(&format!("/api/iot/config?device_key={key}")).await
    }
}

#[track_caller]
fn check_stale(answer: &Answer, body: &str) {
    let answer = answer.clone().expect(200);
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("x-coredock-stale"), "true");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("content-length"), body.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_down_a_device_gets_its_last_configuration() {
    let bench = Bench::start().await;
    let model = bench.server.create_model("demo").await;
    let device = bench.server.create_device(model, CONFIG).await;
    let other = bench.server.create_device(model, CONFIG).await;
    let fresh = bench.config(&device.key).await.expect(200);
    assert_eq!((fresh.header("x-coredock-stale"), &fresh.body[..]), ("", CONFIG.as_bytes()));
    bench.database.set(Some(ReadFault::Down));
    check_stale(&bench.config(&device.key).await, CONFIG);
    bench.config(&other.key).await.expect_error(503, "SERVICE_UNAVAILABLE");
    bench.config("zzzzzzzz").await.expect_error(503, "SERVICE_UNAVAILABLE");
    let changed = CONFIG.replace("Hall", "Attic");
    let body = json!({"config": changed, "active": true}).to_string();
    bench.server.put(&format!("/api/devices/{}", device.id), body).await.expect(200);
    check_stale(&bench.config(&device.key).await, CONFIG);
    bench.database.set(None);
    let fresh = bench.config(&device.key).await.expect(200);
    assert_eq!((fresh.header("x-coredock-stale"), &fresh.body[..]), ("", changed.as_bytes()));
    bench.database.set(Some(ReadFault::Down));
    check_stale(&bench.config(&device.key).await, &changed);
    bench.server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_gets_no_stale_configuration() {
    let bench = Bench::start().await;
    let model = bench.server.create_model("demo").await;
    let device = bench.server.create_device(model, CONFIG).await;
    bench.config(&device.key).await.expect(200);
    bench.server.delete(&format!("/api/devices/{}", device.id)).await.expect(204);
    bench.config(&device.key).await.expect_error(404, "RECORD_NOT_FOUND");
    bench.database.set(Some(ReadFault::Down));
    bench.config(&device.key).await.expect_error(503, "SERVICE_UNAVAILABLE");
    bench.server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_does_not_use_up_the_time_of_a_device() {
    let bench = Bench::start().await;
    let model = bench.server.create_model("demo").await;
    let device = bench.server.create_device(model, CONFIG).await;
    bench.config(&device.key).await.expect(200);
    let gate = Gate::new();
    bench.database.set(Some(ReadFault::Hangs(gate.clone())));
    let began = Instant::now();
    check_stale(&bench.config(&device.key).await, CONFIG);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    gate.open();
    assert_eq!(bench.config(&device.key).await.expect(200).header("x-coredock-stale"), "");
    bench.server.finish().await;
}
