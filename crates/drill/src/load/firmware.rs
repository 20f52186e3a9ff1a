//! Requests which publish, download, activate and delete versions.

use coredock_domain::artifacts::key::ArtifactName;
use coredock_testkit::invariants::Fact;

use super::super::events::{VersionAct, VersionChange};
use super::super::material::{MODELS, VERSIONS};
use super::{Request, Session, outcome};

impl Session<'_> {
    pub(super) fn publish(&mut self) {
        let material = self.load.material;
        let Some(set) = self.dice.pick(&material.sets) else { return };
        let path = format!("/api/pipeline/models/{}/firmware", MODELS[set.model]);
        let (kind, method) = ("publish version", "POST");
        let request = Request { kind, method, path: &path, body: &set.zip, statuses: &[200] };
        let (span, answer) = self.send(&request);
        let (model, version, outcome) = (set.model, set.version, outcome(answer.as_ref()));
        let act = VersionAct::Publish(Box::new(set.facts));
        self.events.versions.push(VersionChange { model, version, act, span, outcome });
    }

    pub(super) fn download_firmware(&mut self) {
        let device = self.dice.below(self.load.fleet.devices.len());
        let device = &self.load.fleet.devices[device];
        let path = format!("/api/iot/firmware?device_key={}", device.key);
        let (kind, statuses) = ("download firmware", [200, 404]);
        let request = Request { kind, method: "GET", path: &path, body: &[], statuses: &statuses };
        let Some(answer) = self.send(&request).1 else { return };
        if self.verify_download(&path, &answer).is_some() {
            let fact = Fact::of(&answer.body);
            let material = self.load.material;
            let known = VERSIONS
                .iter()
                .any(|version| material.has(device.model, version, ArtifactName::Bin, fact));
            self.verify(known, || format!("{path}: an image that was never published"));
        }
    }

    pub(super) fn activate(&mut self) {
        let (model, version) = self.any_version();
        let path = self.path_of_version(model, version, "/activate");
        let (kind, statuses) = ("activate version", [200, 404]);
        let request = Request { kind, method: "POST", path: &path, body: &[], statuses: &statuses };
        self.change(model, version, VersionAct::Activate, &request);
    }

    pub(super) fn delete_version(&mut self) {
        let (model, version) = self.any_version();
        let path = self.path_of_version(model, version, "");
        let (kind, statuses) = ("delete version", [204, 404, 409]);
        let request =
            Request { kind, method: "DELETE", path: &path, body: &[], statuses: &statuses };
        self.change(model, version, VersionAct::Delete, &request);
    }

    fn change(
        &mut self,
        model: usize,
        version: &'static str,
        act: VersionAct,
        request: &Request<'_>,
    ) {
        let (span, answer) = self.send(request);
        let outcome = outcome(answer.as_ref());
        self.events.versions.push(VersionChange { model, version, act, span, outcome });
    }

    fn any_version(&mut self) -> (usize, &'static str) {
        let model = self.dice.below(MODELS.len());
        (model, self.dice.pick(&VERSIONS).copied().unwrap_or_default())
    }

    fn path_of_version(&self, model: usize, version: &str, rest: &str) -> String {
        let model = self.load.fleet.models[model];
        format!("/api/device-models/{model}/firmware-versions/{version}{rest}")
    }
}
