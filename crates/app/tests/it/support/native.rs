//! A server whose dumps are parsed by the native symbolizer, with the real indexer.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use coredock::adapters::{Adapters, Engine};
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder};
use serde_json::Value;
use tempfile::TempDir;

use super::{Demo, PATIENCE, TestServer};

pub(crate) const RISCV: &str = "riscv/Og";
pub(crate) const XTENSA: &str = "xtensa/Og";
pub(crate) const ESP32C6: u16 = 0x000D;
pub(crate) const ESP32S3: u16 = 0x0009;

pub(crate) fn fixture(build: &str, name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures");
    std::fs::read(fixtures.join(build).join(name)).unwrap()
}

pub(crate) fn elf(build: &str) -> Vec<u8> {
    fixture(build, "firmware.elf")
}

pub(crate) fn bundle(version: &str, chip: u16, elf: &[u8]) -> Vec<u8> {
    let image = ImageBuilder::new(version, 4096).chip_id(chip).of_elf(elf).build();
    BundleBuilder::new("demo", version).bin(image).elf(elf).build()
}

/// A server which makes the reports itself.
pub(crate) struct Native {
    pub(crate) server: TestServer,
    pub(crate) demo: Demo,
}

impl Native {
    pub(crate) async fn start() -> Self {
        Self::wrapped(&[], |adapters| adapters).await
    }

    pub(crate) async fn wrapped(
        more: &[(&str, &str)],
        wrap: impl FnOnce(Adapters) -> Adapters,
    ) -> Self {
        let mut settings = vec![("PARSE_RETRY_DELAYS", "0,0"), ("SYMBOLIZER_WORKERS", "2")];
        settings.extend(more);
        let server = TestServer::wrapped_with(&settings, wrap).await;
        let demo = server.demo().await;
        Self { server, demo }
    }

    /// A server whose indexer is this script.
    pub(crate) async fn with_indexer(script: &str, more: &[(&str, &str)]) -> (Self, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("indexer");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let wrap = |mut adapters: Adapters| {
            let Engine::Native(options) = &mut adapters.engine else { panic!("not native") };
            options.indexer.program = program;
            adapters
        };
        (Self::wrapped(more, wrap).await, directory)
    }

    /// Publishes a version and waits for the end of the attempts to index it; returns its entry in
    /// the list.
    pub(crate) async fn publish(&self, version: &str, chip: u16, elf: &[u8]) -> Value {
        self.server.upload("demo", bundle(version, chip, elf)).await.expect(200);
        self.indexed(version).await
    }

    /// Waits for the end of the attempts to index a version; returns its entry in the list.
    pub(crate) async fn indexed(&self, version: &str) -> Value {
        let path = format!("/api/device-models/{}/firmware-versions", self.demo.model_id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.server.get(&path).await.expect(200).json();
            let lines = list["firmware_versions"].as_array().unwrap();
            let line = lines.iter().find(|line| line["version"] == version).unwrap();
            if line["index_status"] == "ready" || line["index_status"] == "failed" {
                return line.clone();
            }
            assert!(Instant::now() < deadline, "never indexed: {line}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn deliver(&self, version: &str, body: Vec<u8>) -> i64 {
        self.server.deliver(&self.demo.device.key, version, body).await
    }

    pub(crate) async fn wait(&self, id: i64, status: &str) -> Value {
        self.server.wait_for_dump(self.demo.device.id, id, status).await
    }

    pub(crate) async fn state(&self, id: i64) -> Value {
        self.server.report(self.demo.device.id, id).await
    }

    /// Delivers a dump that can be parsed; returns its detail and the report for programs.
    pub(crate) async fn parsed(&self, version: &str, body: Vec<u8>) -> (Value, Value) {
        let id = self.deliver(version, body).await;
        let dump = self.wait(id, "PARSED").await;
        (dump, self.state(id).await["report"].clone())
    }

    /// Delivers a dump that cannot be parsed; returns the reason and the partial report.
    pub(crate) async fn refused(
        &self,
        version: &str,
        body: Vec<u8>,
        code: &str,
    ) -> (String, Value) {
        let id = self.deliver(version, body).await;
        let dump = self.wait(id, "ERROR").await;
        let state = self.state(id).await;
        assert_eq!(state["error"]["code"], code, "{state}");
        let message = state["error"]["message"].as_str().unwrap();
        assert_eq!(dump["parsed_output"], format!("Unable to parse coredump: {message}"));
        assert_eq!(dump["signature"], Value::Null);
        (message.to_owned(), state["report"].clone())
    }

    pub(crate) async fn indexes(&self, result: &str) -> u64 {
        let label = format!("result=\"{result}\"");
        self.server.metric_where("coredock_symbol_indexes_total", &label).await
    }

    pub(crate) async fn finish(self) {
        self.server.finish().await;
    }
}
