//! A running `coredock serve` and the requests of tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coredock_testkit::firmware::{BundleBuilder, ZipEntry, bundle, image};
use reqwest::Method;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Ended, Process, Settings};
use super::{PATIENCE, wait_until};

/// Large enough not to fit into the buffers of a connection.
const LARGE_IMAGE: usize = 24 << 20;

/// A server process that listens.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    data_dir: PathBuf,
    client: reqwest::Client,
}

/// An answer of a server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Fails unless this is the 503 of an outage.
    #[track_caller]
    pub(crate) fn expect_outage(self) {
        assert_eq!(self.expect(503).json()["code"], "SERVICE_UNAVAILABLE");
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    /// Serves this data directory on a random port of loopback.
    #[track_caller]
    pub(crate) fn start(data_dir: &Path, settings: Settings<'_>) -> Self {
        let data = data_dir.to_str().unwrap();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data];
        Self::start_with(data_dir.parent().unwrap(), &arguments, settings, data_dir)
    }

    /// Serves with these arguments, which must result in `data_dir`.
    #[track_caller]
    pub(crate) fn start_with(
        directory: &Path,
        arguments: &[&str],
        settings: Settings<'_>,
        data_dir: &Path,
    ) -> Self {
        Self::of(Process::start(directory, arguments, settings), data_dir)
    }

    /// Serves this data directory while its system calls are recorded in the file `trace`.
    #[track_caller]
    pub(crate) fn start_traced(data_dir: &Path, trace: &Path) -> Self {
        let directory = data_dir.parent().unwrap();
        let data = data_dir.to_str().unwrap();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data];
        Self::of(Process::start_traced(directory, &arguments, &[], trace), data_dir)
    }

    /// Serves this data directory; calls of `mkdir` for `path` hang for 12 s.
    #[track_caller]
    pub(crate) fn start_hanging(data_dir: &Path, path: &Path) -> Self {
        let data = data_dir.to_str().unwrap();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data];
        let (calls, tampering) = ("mkdir,mkdirat", "delay_enter=12000000");
        let directory = data_dir.parent().unwrap();
        Self::of(Process::start_tampered(directory, &arguments, path, calls, tampering), data_dir)
    }

    #[track_caller]
    fn of(mut process: Process, data_dir: &Path) -> Self {
        let mut address = None;
        wait_until("the server listens", || {
            address = process.address();
            assert!(!process.has_ended(), "{}", process.error_output());
            address.is_some()
        });
        let client = reqwest::Client::builder().no_proxy().redirect(Policy::none());
        let client = client.timeout(PATIENCE).build().unwrap();
        Self { process, address: address.unwrap(), data_dir: data_dir.to_owned(), client }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `DATA_DIR`
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Waits until an upload is in flight: its head was received, its answer not yet sent.
    pub(crate) async fn wait_for_upload(&self) {
        let line = r#"coredock_http_requests_in_flight{class="pipeline"} 1"#;
        self.wait_for_metric(line).await;
    }

    /// Waits until `/metrics` has this line.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.get("/metrics").await.expect(200).body;
            let metrics = String::from_utf8(metrics).unwrap();
            if metrics.lines().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < deadline, "{line} is not in {metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    #[track_caller]
    pub(crate) fn wait(self) -> Ended {
        self.process.wait()
    }

    /// Stops it with SIGTERM; fails unless the exit status is 0.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.terminate();
        self.wait().expect(0)
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(self) {
        self.process.signal(Signal::KILL);
        assert_eq!(self.wait().status, None);
    }

    /// A request to be changed and sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    /// `GET`
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST`
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::POST, path).body(body)).await
    }

    /// Creates a model.
    pub(crate) async fn post_model(&self, code: &str) -> Answer {
        self.post("/api/device-models", json!({"code": code, "name": code}).to_string()).await
    }

    /// Creates a device of the first model and returns its key.
    pub(crate) async fn create_device(&self, config: &str) -> String {
        let body = json!({"device_model_id": 1, "config": config}).to_string();
        let created = self.post("/api/devices", body).await.expect(201).json();
        created["key"].as_str().unwrap().to_owned()
    }

    /// Uploads a bundle for `demo`.
    pub(crate) async fn upload(&self, bundle: Vec<u8>) -> Answer {
        self.post("/api/pipeline/models/demo/firmware", bundle).await
    }

    /// Creates `demo`, which becomes the first model, and uploads these versions.
    pub(crate) async fn publish_demo(&self, versions: &[&str]) {
        self.post_model("demo").await.expect(201);
        for version in versions {
            self.upload(bundle(version)).await.expect(200);
        }
    }

    /// Creates `demo` with a version whose download takes a while, and a device.
    pub(crate) async fn publish_large_demo(&self) -> String {
        self.post_model("demo").await.expect(201);
        let large = BundleBuilder::new("demo", "1.0.0").bin(large_image());
        self.upload(large.change_all(ZipEntry::stored).build()).await.expect(200);
        self.create_device("{}").await
    }

    /// Version texts of `demo`, newest first.
    pub(crate) async fn versions(&self) -> Vec<String> {
        let listed = self.get("/api/device-models/1/firmware-versions").await.expect(200).json();
        let text = |version: &Value| version["version"].as_str().unwrap().to_owned();
        listed["firmware_versions"].as_array().unwrap().iter().map(text).collect()
    }

    /// Codes of all models.
    pub(crate) async fn model_codes(&self) -> Vec<String> {
        let listed = self.get("/api/device-models").await.expect(200).json();
        let code = |model: &Value| model["code"].as_str().unwrap().to_owned();
        listed["device_models"].as_array().unwrap().iter().map(code).collect()
    }

    /// Delivers a dump as a device does.
    pub(crate) async fn post_dump(&self, key: &str, version: &str, body: Vec<u8>) -> Answer {
        let query = format!("device_key={key}&chip=esp32s3&firmware_version={version}");
        self.post(&format!("/api/iot/coredump?{query}"), body).await
    }

    /// Delivers a dump that is accepted; returns its id.
    pub(crate) async fn deliver(&self, key: &str, version: &str, body: Vec<u8>) -> i64 {
        let received = self.post_dump(key, version, body).await.expect(201);
        received.json()["coredump_id"].as_i64().unwrap()
    }

    /// The dumps of the first device.
    pub(crate) async fn dumps(&self) -> Vec<Value> {
        let listed = self.get("/api/devices/1/coredumps").await.expect(200).json();
        listed["coredumps"].as_array().unwrap().clone()
    }

    /// The state of a dump of the first device.
    pub(crate) async fn report(&self, id: i64) -> Value {
        self.get(&format!("/api/devices/1/coredumps/{id}/report")).await.expect(200).json()
    }

    /// Waits until a dump of the first device has this status; returns the state of its parse.
    pub(crate) async fn wait_for_dump(&self, id: i64, status: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report(id).await;
            if report["parse_status"] == status {
                return report;
            }
            assert!(Instant::now() < deadline, "never {status}: {report}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the ELF of the version of `demo` is indexed.
    pub(crate) async fn wait_for_index(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let path = "/api/device-models/1/firmware-versions";
            let listed = self.get(path).await.expect(200).json();
            let status = &listed["firmware_versions"][0]["index_status"];
            if status == "ready" {
                return;
            }
            assert!(Instant::now() < deadline, "never indexed: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the store has its owner mark.
    #[track_caller]
    pub(crate) fn wait_for_owner_mark(&self) {
        let mark = self.data_dir.join("artifacts/coredock/owner");
        wait_until("the store has its owner mark", || mark.exists());
    }
}

/// The image of [`Server::publish_large_demo`].
pub(crate) fn large_image() -> Vec<u8> {
    image("1.0.0", LARGE_IMAGE)
}
