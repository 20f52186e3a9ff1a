//! Actions of tests on dumps.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use coredock::wiring::Features;
use serde_json::Value;

use super::{Answer, PATIENCE, TestServer, wait_until};

impl TestServer {
    /// Delivers a dump as a device does.
    pub(crate) async fn post_dump(
        &self,
        key: &str,
        version: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let query = format!("device_key={key}&chip=esp32s3&firmware_version={version}");
        self.post(&format!("/api/iot/coredump?{query}"), body).await
    }

    /// Delivers a dump that is accepted; returns its id.
    pub(crate) async fn deliver(
        &self,
        key: &str,
        version: &str,
        body: impl Into<reqwest::Body>,
    ) -> i64 {
        let received = self.post_dump(key, version, body).await.expect(201).json();
        assert_eq!(received["status"], "ok");
        received["coredump_id"].as_i64().unwrap()
    }

    /// Ids of the dumps of a device, newest first.
    pub(crate) async fn dump_ids(&self, device_id: i64) -> Vec<i64> {
        let listed = self.get(&format!("/api/devices/{device_id}/coredumps")).await.expect(200);
        let listed = listed.json();
        let dumps = listed["coredumps"].as_array().unwrap();
        assert_eq!(listed["count"], dumps.len());
        dumps.iter().map(|dump| dump["id"].as_i64().unwrap()).collect()
    }

    /// A dump, from its detail route.
    pub(crate) async fn dump(&self, device_id: i64, id: i64) -> Value {
        self.get(&format!("/api/devices/{device_id}/coredumps/{id}")).await.expect(200).json()
    }

    /// Files in the rescue spool, sorted.
    pub(crate) fn rescued(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data_dir().join("rescue")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths.filter(|path| !path.ends_with("rescue.lock")).collect();
        files.sort();
        files
    }

    /// The features of another process on the same data.
    pub(crate) fn another(&self) -> Features {
        let config = super::config_of(&self.place, &self.settings);
        Features::new(&config, &self.adapters).unwrap()
    }

    /// Waits until nothing is in the rescue spool.
    pub(crate) async fn wait_for_empty_rescue(&self) {
        wait_until("the rescue spool is empty", || self.rescued().is_empty()).await;
    }

    /// The state of the parse of a dump.
    pub(crate) async fn report(&self, device_id: i64, id: i64) -> Value {
        let path = format!("/api/devices/{device_id}/coredumps/{id}/report");
        self.get(&path).await.expect(200).json()
    }

    /// Waits until a dump has this status; returns its detail.
    pub(crate) async fn wait_for_dump(&self, device_id: i64, id: i64, status: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let dump = self.dump(device_id, id).await;
            if dump["parse_status"] == status {
                return dump;
            }
            assert!(Instant::now() < deadline, "never {status}: {dump}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
