//! The test bench: a real server in this process, on a fresh data directory and a random port.

pub(crate) mod browser;
pub(crate) mod checker;
mod dump_verbs;
pub(crate) mod failing_commits;
pub(crate) mod failing_devices;
pub(crate) mod failing_records;
pub(crate) mod failing_roms;
pub(crate) mod identity;
pub(crate) mod native;
pub(crate) mod parsing;
pub(crate) mod place;
pub(crate) mod raw;
pub(crate) mod replicas;
pub(crate) mod rom_verbs;
pub(crate) mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coredock::adapters::{Adapters, Engine};
use coredock::backends::Backends;
use coredock::backends::preparation::Preparation;
use coredock::config::{Config, Overrides};
use coredock::server::RunningServer;
use coredock::wiring::Features;
use coredock_testkit::faulty_store::FaultyStore;
use coredock_testkit::files::names_below;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use place::Place;
use rows::Rows;

/// Longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server with its database and store.
pub(crate) struct TestServer {
    server: Option<RunningServer>,
    backends: Option<Arc<Backends>>,
    place: Arc<Place>,
    settings: Vec<(String, String)>,
    client: reqwest::Client,
    /// Who sends the requests, where tokens are needed.
    token: Option<String>,
    /// The artifact store, to make it fail.
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) adapters: Adapters,
}

/// An answer of a server.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("expected JSON, found {shown}"))
    }

    /// One header line; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}", body.chars().take(500).collect::<String>());
        self
    }

    /// Fails unless this is an error of this status and code; returns its message or faults.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> String {
        let envelope = self.clone().expect(status).json();
        assert_eq!(envelope["code"], code, "{envelope}");
        assert_eq!(envelope["correlationId"], self.header("x-request-id"), "{envelope}");
        assert!(envelope["error"].as_str().is_some_and(|text| !text.is_empty()), "{envelope}");
        let details = &envelope["details"];
        details["message"].as_str().map_or_else(|| details["errors"].to_string(), str::to_owned)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TestDevice {
    pub(crate) id: i64,
    pub(crate) key: String,
}

/// The data of the contract's test vectors: model `demo` with one device.
pub(crate) struct Demo {
    pub(crate) model_id: i64,
    pub(crate) device: TestDevice,
}

impl TestServer {
    /// A server with the settings of contract §19.
    pub(crate) async fn start() -> Self {
        Self::with(&[("MAX_FIRMWARES", "2"), ("MAX_COREDUMPS", "3"), ("SYMBOLIZER", "off")]).await
    }

    /// A server on a fresh data directory.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::wrapped_with(settings, |adapters| adapters).await
    }

    /// A server whose adapters were changed by `wrap`.
    pub(crate) async fn wrapped(wrap: impl FnOnce(Adapters) -> Adapters) -> Self {
        Self::wrapped_with(&[("MAX_FIRMWARES", "2")], wrap).await
    }

    pub(crate) async fn wrapped_with(
        settings: &[(&str, &str)],
        wrap: impl FnOnce(Adapters) -> Adapters,
    ) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        Self::open(Arc::new(Place::new()), settings, wrap).await
    }

    /// A replica on PostgreSQL and S3.
    pub(crate) async fn on_servers(settings: &[(&str, &str)]) -> Self {
        Self::at(Place::on_servers(), settings).await
    }

    /// Another replica beside this one.
    pub(crate) async fn replica(&self, settings: &[(&str, &str)]) -> Self {
        Self::at(self.place.of_replica(), settings).await
    }

    pub(crate) async fn at(place: Place, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        Self::open(Arc::new(place), settings, |adapters| adapters).await
    }

    async fn open(
        place: Arc<Place>,
        settings: Vec<(String, String)>,
        wrap: impl FnOnce(Adapters) -> Adapters,
    ) -> Self {
        let config = config_of(&place, &settings);
        let backends = Arc::new(Backends::open(&config).await.unwrap());
        let store = Arc::new(FaultyStore::new(backends.adapters.stores.on_pool.clone()));
        let mut adapters = backends.adapters.clone();
        adapters.stores.on_pool = store.clone();
        adapters.stores.on_caller_thread = store.clone();
        if let Engine::Native(options) = &mut adapters.engine {
            // The program of this process is the test, which has no `build-index`.
            options.indexer.program = env!("CARGO_BIN_EXE_coredock").into();
        }
        let adapters = wrap(adapters);
        let listener = coredock::server::listen(config.http.listen).unwrap();
        backends.clean_leftovers().await;
        let features = Features::new(&config, &adapters).unwrap();
        Preparation::default().advance(&backends, &features.upkeep, true).await.unwrap();
        let server = RunningServer::start(&config, &adapters, features, listener).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        store.clear_calls();
        Self {
            server: Some(server),
            backends: Some(backends),
            place,
            settings,
            client,
            token: None,
            store,
            adapters,
        }
    }

    /// From now on requests are sent with this token.
    pub(crate) fn sign_in(&mut self, token: String) {
        self.token = Some(token);
    }

    /// Stops as if killed, and starts again on the same data.
    pub(crate) async fn restart(mut self) -> Self {
        let (place, settings) = (self.place.clone(), self.settings.clone());
        let token = self.token.take();
        self.server.take().unwrap().abort().await;
        self.backends.take().unwrap().adapters.database.close();
        drop(self);
        let mut restarted = Self::open(place, settings, |adapters| adapters).await;
        restarted.token = token;
        restarted
    }

    /// Stops, and checks the invariants of the data that is left.
    pub(crate) async fn finish(mut self) {
        self.store.set_down(false);
        self.store.clear_faults();
        self.wait_for_empty_outbox().await;
        let violations = self.metric("coredock_invariant_violations_total").await;
        assert_eq!(violations, 0, "the server counted violated invariants");
        self.server.take().unwrap().stop().await;
        let (versions, dumps) =
            (self.setting("MAX_FIRMWARES", 5), self.setting("MAX_COREDUMPS", 20));
        checker::check(&self.rows(), &self.artifact_dir(), versions, dumps);
        self.backends.take().unwrap().adapters.database.close();
    }

    /// Like [`TestServer::finish`] for tests that break invariants on purpose.
    pub(crate) async fn finish_broken(mut self) {
        self.server.take().unwrap().stop().await;
        self.backends.take().unwrap().adapters.database.close();
    }

    fn setting(&self, name: &str, default: usize) -> usize {
        let set = self.settings.iter().find(|(set, _)| set == name);
        set.map_or(default, |(_, value)| value.parse().unwrap())
    }

    pub(crate) fn running(&self) -> &RunningServer {
        self.server.as_ref().unwrap()
    }

    /// The address as `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> String {
        self.running().address().to_string()
    }

    /// The rows of the database, read and written directly.
    pub(crate) fn rows(&self) -> Rows {
        self.place.rows()
    }

    /// The place of rows and objects, which exists until its last reference is dropped.
    pub(crate) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }

    /// `DATA_DIR`
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.place.data_dir()
    }

    /// The directory of the objects: `ARTIFACT_DIR`, or that of the bucket in the S3 server.
    pub(crate) fn artifact_dir(&self) -> PathBuf {
        self.place.artifact_dir()
    }

    /// A request to be changed and sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.anonymous_request(method, path);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request without the token of [`TestServer::sign_in`].
    pub(crate) fn anonymous_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.authority()))
    }

    /// A request to another address, by the same client.
    pub(crate) fn request_to(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// The number of deadlocks in this database.
    pub(crate) fn deadlocks(&self) -> u64 {
        let query =
            "SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()";
        coredock_testkit::postgres::texts(&self.place.database_url(), query)[0].parse().unwrap()
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap() }
    }

    /// `GET`
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `HEAD`
    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send(self.request(Method::HEAD, path)).await
    }

    /// `GET` with header lines.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::GET, path);
        let add =
            |request: RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
        self.send(headers.iter().fold(request, add)).await
    }

    /// `POST` of any bytes.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::POST, path).body(body)).await
    }

    /// `PUT` of any bytes.
    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::PUT, path).body(body)).await
    }

    /// `DELETE`
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a model and returns its id.
    pub(crate) async fn create_model(&self, code: &str) -> i64 {
        let body = json!({"code": code, "name": code}).to_string();
        let created = self.post("/api/device-models", body).await.expect(201).json();
        created["id"].as_i64().unwrap()
    }

    /// Creates a device with this configuration.
    pub(crate) async fn create_device(&self, model_id: i64, config: &str) -> TestDevice {
        let body = json!({"device_model_id": model_id, "config": config}).to_string();
        let created = self.post("/api/devices", body).await.expect(201).json();
        TestDevice {
            id: created["id"].as_i64().unwrap(),
            key: created["key"].as_str().unwrap().to_owned(),
        }
    }

    /// Creates model `demo` with one device.
    pub(crate) async fn demo(&self) -> Demo {
        let model_id = self.create_model("demo").await;
        Demo { model_id, device: self.create_device(model_id, "{}").await }
    }

    /// Uploads a bundle as a pipeline.
    pub(crate) async fn upload(&self, model: &str, bundle: Vec<u8>) -> Answer {
        self.post(&format!("/api/pipeline/models/{model}/firmware"), bundle).await
    }

    /// Uploads the bundle ZIP(version) of contract §19 for `demo`.
    pub(crate) async fn upload_demo(&self, version: &str) -> Answer {
        self.upload("demo", coredock_testkit::firmware::bundle(version)).await
    }

    /// Version texts of a model, newest first.
    pub(crate) async fn versions(&self, model_id: i64) -> Vec<String> {
        let path = format!("/api/device-models/{model_id}/firmware-versions");
        let listed = self.get(&path).await.expect(200).json();
        let text = |version: &Value| version["version"].as_str().unwrap().to_owned();
        listed["firmware_versions"].as_array().unwrap().iter().map(text).collect()
    }

    /// The current version text of `demo`.
    pub(crate) async fn current_version(&self) -> Value {
        let path = "/api/pipeline/models/demo/firmware-version";
        self.get(path).await.expect(200).json()["firmware_version"].clone()
    }

    /// Paths of all stored artifacts, sorted.
    pub(crate) fn stored_keys(&self) -> Vec<String> {
        let prefixes = ["firmware/", "symbols/", "rom/", "coredumps/", "staging/"];
        let mut keys = names_below(&self.artifact_dir()).unwrap();
        keys.retain(|key| prefixes.iter().any(|prefix| key.starts_with(prefix)));
        keys
    }

    /// The bytes of a stored object.
    pub(crate) fn object(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.artifact_dir().join(key)).unwrap()
    }

    /// Puts a file of this age into the artifact directory, without the server.
    pub(crate) fn place_object(&self, key: &str, age: Duration) -> PathBuf {
        let path = self.artifact_dir().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, key).unwrap();
        let then = std::time::SystemTime::now() - age;
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    /// Waits until every queued delete is done.
    pub(crate) async fn wait_for_empty_outbox(&self) {
        let rows = self.rows();
        wait_until("the outbox is empty", || rows.count("outbox", "1=1") == 0).await;
    }

    /// The sum of a metric over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.metric_where(name, "").await
    }

    /// Waits until the sum of a metric over the series that contain `labels` has grown to
    /// `minimum`.
    pub(crate) async fn wait_for_metric(&self, name: &str, labels: &str, minimum: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric_where(name, labels).await < minimum {
            assert!(
                Instant::now() < deadline,
                "timed out waiting for {name} {labels} of at least {minimum}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The sum of a metric over the series that contain `labels`.
    pub(crate) async fn metric_where(&self, name: &str, labels: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").await.expect(200).body.to_vec()).unwrap();
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(labels)
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        text.lines().filter(of_name).map(value).sum()
    }
}

fn config_of(place: &Place, settings: &[(String, String)]) -> Config {
    let overrides = Overrides {
        data_dir: Some(place.data_dir()),
        listen: Some("127.0.0.1:0".into()),
        ..Overrides::default()
    };
    let all = place.settings().into_iter().chain(settings.iter().cloned());
    Config::read(&overrides, all).unwrap()
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let unfinished = self.server.is_some() && !std::thread::panicking();
        assert!(!unfinished, "a test ends with TestServer::finish");
    }
}

/// Waits for a condition; fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until<'a>(
    what: &'a str,
    mut condition: impl FnMut() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "timed out at {caller}, waiting until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A committed fixture.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/firmware");
    std::fs::read(fixtures.join(name)).unwrap()
}
