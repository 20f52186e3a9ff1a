//! Requests that must change nothing. No other request has their bodies, so that any effect is
//! found.

use super::super::MAX_COREDUMP_BYTES;
use super::super::material::{MODELS, VERSIONS, dump};
use super::{Request, Session};

const KIND: &str = "bad request";

impl Session<'_> {
    pub(super) fn be_refused(&mut self) {
        match self.dice.below(10) {
            0 => self.refused_dump("chip=esp32s3&firmware_version=1.0.0", MAX_COREDUMP_BYTES + 1),
            1 => self.refused_dump("chip=esp32s3&firmware_version=1.0.0", 0),
            2 => self.refused_dump("chip=esp32%3Brm&firmware_version=1.0.0", 5000),
            3 => self.refused_dump("chip=esp32s3", 5000),
            4 => self.dump_of_a_stranger(),
            5 => self.cut_bundle(),
            6 => self.bundle_of_another_model(),
            7 => self.refused("POST", &self.path("/api/device-models", "/nope/activate"), 404),
            8 => self.refused("DELETE", &self.path("/api/devices", "/coredumps/999999999"), 404),
            _ => self.refused("PUT", &self.path("/api/devices", ""), 400),
        }
    }

    fn refused_dump(&mut self, query: &str, length: usize) {
        let device = self.dice.below(self.load.fleet.devices.len());
        let key = &self.load.fleet.devices[device].key;
        let path = format!("/api/iot/coredump?device_key={key}&{query}");
        let body = dump(self.dice.number(), length);
        self.refuse("POST", &path, &body, &[400]);
    }

    fn dump_of_a_stranger(&mut self) {
        let path = "/api/iot/coredump?device_key=22222222&chip=esp32s3&firmware_version=1.0.0";
        let body = dump(self.dice.number(), 5000);
        self.refuse("POST", path, &body, &[404]);
    }

    fn cut_bundle(&mut self) {
        let material = self.load.material;
        let Some(set) = self.dice.pick(&material.sets) else { return };
        let path = format!("/api/pipeline/models/{}/firmware", MODELS[set.model]);
        let cut = self.dice.below(set.zip.len());
        self.refuse("POST", &path, &set.zip[..cut], &[400]);
    }

    fn bundle_of_another_model(&mut self) {
        let material = self.load.material;
        let Some(set) = self.dice.pick(&material.sets) else { return };
        let other = MODELS[(set.model + 1) % MODELS.len()];
        let path = format!("/api/pipeline/models/{other}/firmware");
        self.refuse("POST", &path, &set.zip, &[400]);
    }

    fn path(&self, collection: &str, rest: &str) -> String {
        let fleet = self.load.fleet;
        if collection == "/api/devices" {
            format!("{collection}/{}{rest}", fleet.devices[0].id)
        } else {
            format!("{collection}/{}/firmware-versions{rest}", fleet.models[0])
        }
    }

    fn refused(&mut self, method: &str, path: &str, status: u16) {
        let body = format!("{{\"config\": \"[{}]\"}}", VERSIONS[0]);
        let body = if method == "PUT" { body.as_bytes() } else { &[] };
        self.refuse(method, path, body, &[status]);
    }

    fn refuse(&mut self, method: &str, path: &str, body: &[u8], statuses: &[u16]) {
        self.send(&Request { kind: KIND, method, path, body, statuses });
    }
}
