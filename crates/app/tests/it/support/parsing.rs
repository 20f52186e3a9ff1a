//! A server whose dumps are parsed by a scripted sidecar over real HTTP.

use coredock_testkit::firmware::{BundleBuilder, ImageBuilder};
use coredock_testkit::sidecar::ScriptedSidecar;
use serde_json::Value;
use tempfile::TempDir;

use super::{Demo, TestServer};

pub(crate) struct Parsing {
    pub(crate) sidecar: ScriptedSidecar,
    pub(crate) directory: TempDir,
    pub(crate) server: TestServer,
    pub(crate) demo: Demo,
}

impl Parsing {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sidecar = ScriptedSidecar::start(directory.path()).await;
        let (url, path) = (sidecar.url(), directory.path().to_str().unwrap());
        let mut settings = vec![
            ("PARSE_SIDECAR_URL", url),
            ("PARSE_SIDECAR_XFER_DIR", path),
            ("PARSE_RETRY_DELAYS", "0,0"),
            ("SYMBOLIZER_WORKERS", "2"),
        ];
        settings.extend(more);
        let server = TestServer::with(&settings).await;
        let demo = server.demo().await;
        Self { sidecar, directory, server, demo }
    }

    pub(crate) async fn deliver(&self, version: &str, body: impl Into<reqwest::Body>) -> i64 {
        self.server.deliver(&self.demo.device.key, version, body).await
    }

    pub(crate) async fn wait(&self, id: i64, status: &str) -> Value {
        self.server.wait_for_dump(self.demo.device.id, id, status).await
    }

    pub(crate) async fn report(&self, id: i64) -> Value {
        self.server.report(self.demo.device.id, id).await
    }

    /// Waits for the end of a parse that fails, checks its error code and returns the message.
    pub(crate) async fn wait_for_error(&self, id: i64, code: &str) -> String {
        let dump = self.wait(id, "ERROR").await;
        let error = self.report(id).await["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        let message = error["message"].as_str().unwrap();
        assert_eq!(dump["parsed_output"], format!("Unable to parse coredump: {message}"));
        assert!(dump["parsed_at"].is_string());
        message.to_owned()
    }

    pub(crate) fn path(&self, id: i64) -> String {
        format!("/api/devices/{}/coredumps/{id}", self.demo.device.id)
    }

    pub(crate) async fn finish(self) {
        assert!(!self.sidecar.same_core_at_once());
        self.server.finish().await;
        let left: Vec<_> = std::fs::read_dir(self.directory.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A bundle of this build.
pub(crate) fn build_of(version: &str, elf: &[u8]) -> Vec<u8> {
    build_of_model("demo", version, elf)
}

pub(crate) fn build_of_model(model: &str, version: &str, elf: &[u8]) -> Vec<u8> {
    let image = ImageBuilder::new(version, 4096).project(model).of_elf(elf).build();
    BundleBuilder::new(model, version).bin(image).elf(elf).build()
}
