//! The models and devices of the drill, which are created once.

use anyhow::{Context, Result};
use coredock_testkit::client::Client;
use serde_json::json;

use super::material::MODELS;

const DEVICES_PER_MODEL: usize = 2;

#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: i64,
    pub(super) key: String,
    /// Index of its model.
    pub(super) model: usize,
}

#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// Row ids, in the order of [`MODELS`].
    pub(super) models: Vec<i64>,
    pub(super) devices: Vec<Device>,
}

impl Fleet {
    pub(super) fn create(client: &mut Client) -> Result<Self> {
        let mut fleet = Self::default();
        for (model, code) in MODELS.into_iter().enumerate() {
            let body = json!({"code": code, "name": code}).to_string();
            let created = client.post("/api/device-models", body.as_bytes())?.json(201)?;
            let model_id = created["id"].as_i64().context("the created model has no id")?;
            fleet.models.push(model_id);
            for _ in 0..DEVICES_PER_MODEL {
                let body = json!({"device_model_id": model_id, "config": "{}"}).to_string();
                let created = client.post("/api/devices", body.as_bytes())?.json(201)?;
                let id = created["id"].as_i64().context("the created device has no id")?;
                let key =
                    created["key"].as_str().context("the created device has no key")?.to_owned();
                fleet.devices.push(Device { id, key, model });
            }
        }
        Ok(fleet)
    }

    /// Index of the device with this row id.
    pub(super) fn device(&self, id: i64) -> Option<usize> {
        self.devices.iter().position(|device| device.id == id)
    }

    /// Index of the device with this key.
    pub(super) fn device_of_key(&self, key: &str) -> Option<usize> {
        self.devices.iter().position(|device| device.key == key)
    }

    /// Index of the model with this row id.
    pub(super) fn model(&self, id: i64) -> Option<usize> {
        self.models.iter().position(|model| *model == id)
    }
}
