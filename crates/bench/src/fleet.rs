//! What a server needs before it can be measured: a model, devices, versions.

use anyhow::{Context, Result};
use serde_json::json;

use super::bundles::{Bundle, MODEL};
use coredock_testkit::client::Client;

/// Creates the model of all bundles and returns its id.
pub(super) fn create_model(client: &mut Client) -> Result<u64> {
    let body = json!({"code": MODEL, "name": "Demo"}).to_string();
    let model = client.post("/api/device-models", body.as_bytes())?.json(201)?;
    model["id"].as_u64().context("a model without id")
}

/// Creates a device of `model` and returns its key.
pub(super) fn create_device(client: &mut Client, model: u64, name: &str) -> Result<String> {
    let config = json!({"deviceName": name, "deviceEntityId": name, "enableOTA": true});
    let body = json!({"device_model_id": model, "config": config.to_string()}).to_string();
    let device = client.post("/api/devices", body.as_bytes())?.json(201)?;
    Ok(device["key"].as_str().context("a device without key")?.to_owned())
}

/// Publishes a built bundle.
pub(super) fn upload(client: &mut Client, bundle: &[u8]) -> Result<()> {
    let path = format!("/api/pipeline/models/{MODEL}/firmware");
    client.post(&path, bundle)?.json(200).map(drop)
}

/// Publishes one version with an image of `image` bytes, and returns the key of a device with it.
pub(super) fn device_with_image(client: &mut Client, image: usize) -> Result<String> {
    let model = create_model(client)?;
    upload(client, &Bundle { version: "1.0.0", elf: 64 << 10, image }.build())?;
    create_device(client, model, "Bench")
}
