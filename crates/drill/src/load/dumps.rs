//! Requests which send, repeat, read, reparse and delete dumps.

use coredock_domain::digest::Sha256Digest;
use coredock_testkit::client::Answer;

use super::super::events::{Absence, Post, Removal, Span};
use super::super::material::{MAX_DUMP_BYTES, VERSIONS, dump};
use super::{POST_DUMP, Request, Session, Target, outcome};

const CHIPS: [&str; 3] = ["esp32s3", "ESP32C6", "esp32"];
/// A version that is never published.
const UNKNOWN_VERSION: &str = "0.0.1-unpublished";

impl Session<'_> {
    pub(super) fn post_dump(&mut self) {
        let device = self.dice.below(self.load.fleet.devices.len());
        let length = self.dice.spread(0..18, MAX_DUMP_BYTES);
        let seed = self.dice.number();
        self.post(device, seed, length);
    }

    /// Mostly by the same device.
    pub(super) fn repeat_dump(&mut self) {
        let Some(target) = self.load.targets.pick(&mut self.dice) else { return };
        let other = self.dice.below(self.load.fleet.devices.len());
        let device = if self.dice.chance(80) { target.device } else { other };
        self.post(device, target.seed, target.length);
    }

    fn post(&mut self, device: usize, seed: u64, length: usize) {
        let body = dump(seed, length);
        let sha256 = Sha256Digest::of(&body);
        let chip = self.dice.pick(&CHIPS).copied().unwrap_or_default();
        let version = self.dice.pick(&VERSIONS).copied().unwrap_or_default();
        let version = if self.dice.chance(10) { UNKNOWN_VERSION } else { version };
        let key = &self.load.fleet.devices[device].key;
        let path =
            format!("/api/iot/coredump?device_key={key}&chip={chip}&firmware_version={version}");
        let (kind, method) = (POST_DUMP, "POST");
        let request = Request { kind, method, path: &path, body: &body, statuses: &[201] };
        let (span, answer) = self.send(&request);
        let json = answer.as_ref().and_then(|answer| answer.json(201).ok());
        let id = json.and_then(|json| json["coredump_id"].as_i64());
        let is_rescued = answer.as_ref().is_some_and(|answer| answer.status == 503);
        let is_complete = answer.is_none() || is_rescued || id.is_some();
        self.verify(is_complete, || format!("{path}: a 201 without coredump_id"));
        if let Some(id) = id {
            self.load.targets.add(Target { device, id, seed, length, sha256 });
        }
        let (size, chip) = (body.len() as u64, chip.to_ascii_lowercase());
        let version = version.to_owned();
        let post = Post { device, sha256, size, chip, version, span, id, is_rescued };
        self.events.posts.push(post);
    }

    pub(super) fn download_dump(&mut self) {
        let Some(target) = self.load.targets.pick(&mut self.dice) else { return };
        let path = self.path_of(target, "/download");
        let (kind, statuses) = ("download dump", [200, 404]);
        let request = Request { kind, method: "GET", path: &path, body: &[], statuses: &statuses };
        let (span, answer) = self.send(&request);
        self.record_absence(target, span, answer.as_ref());
        let Some(answer) = answer else { return };
        if let Some(sha256) = self.verify_download(&path, &answer) {
            self.verify(sha256 == target.sha256, || format!("{path}: the body of another dump"));
        }
    }

    pub(super) fn delete_dump(&mut self) {
        let Some(target) = self.load.targets.pick(&mut self.dice) else { return };
        let path = self.path_of(target, "");
        let (kind, statuses) = ("delete dump", [204, 404]);
        let request =
            Request { kind, method: "DELETE", path: &path, body: &[], statuses: &statuses };
        let (span, answer) = self.send(&request);
        self.record_absence(target, span, answer.as_ref());
        let (device, id, outcome) = (target.device, Some(target.id), outcome(answer.as_ref()));
        self.events.removals.push(Removal { device, id, span, outcome });
    }

    pub(super) fn delete_all_dumps(&mut self) {
        let device = self.dice.below(self.load.fleet.devices.len());
        let path = format!("/api/devices/{}/coredumps", self.load.fleet.devices[device].id);
        let (kind, method) = ("delete all dumps", "DELETE");
        let request = Request { kind, method, path: &path, body: &[], statuses: &[204] };
        let (span, answer) = self.send(&request);
        let outcome = outcome(answer.as_ref());
        self.events.removals.push(Removal { device, id: None, span, outcome });
    }

    pub(super) fn reparse_dump(&mut self) {
        let Some(target) = self.load.targets.pick(&mut self.dice) else { return };
        let path = self.path_of(target, "/reparse");
        let (kind, statuses) = ("reparse dump", [202, 404]);
        let request = Request { kind, method: "POST", path: &path, body: &[], statuses: &statuses };
        let (span, answer) = self.send(&request);
        self.record_absence(target, span, answer.as_ref());
    }

    fn record_absence(&mut self, target: Target, span: Span, answer: Option<&Answer>) {
        if answer.is_some_and(|answer| answer.status == 404) {
            self.events.absences.push(Absence { id: target.id, span });
        }
    }

    fn path_of(&self, target: Target, rest: &str) -> String {
        let device = self.load.fleet.devices[target.device].id;
        format!("/api/devices/{device}/coredumps/{}{rest}", target.id)
    }
}
