//! Models, devices and versions, which a server needs before a measurement.

use anyhow::{Context, Result};
use serde_json::json;

use super::bundles::{Bundle, MODEL};
use coredock_testkit::client::Client;

/// The default of this setting.
pub(super) const MAX_COREDUMPS: usize = 20;

/// Creates the model of all bundles and returns its id.
pub(super) fn create_model(client: &mut Client) -> Result<u64> {
    let body = json!({"code": MODEL, "name": "Demo"}).to_string();
    let model = client.post("/api/device-models", body.as_bytes())?.json(201)?;
    model["id"].as_u64().context("the new model has no id")
}

/// Creates a device of `model` and returns its key.
pub(super) fn create_device(client: &mut Client, model: u64, name: &str) -> Result<String> {
    let config = json!({"deviceName": name, "deviceEntityId": name, "enableOTA": true});
    let body = json!({"device_model_id": model, "config": config.to_string()}).to_string();
    let device = client.post("/api/devices", body.as_bytes())?.json(201)?;
    Ok(device["key"].as_str().context("the new device has no key")?.to_owned())
}

pub(super) fn upload(client: &mut Client, bundle: &[u8]) -> Result<()> {
    let path = format!("/api/pipeline/models/{MODEL}/firmware");
    client.post(&path, bundle)?.json(200).map(drop)
}

/// Publishes one version with an image of `image` bytes, and returns the key of a device to which
/// it is offered.
pub(super) fn device_with_image(client: &mut Client, image: usize) -> Result<String> {
    let model = create_model(client)?;
    upload(client, &Bundle { version: "1.0.0", elf: 64 << 10, image }.build())?;
    create_device(client, model, "Bench")
}
