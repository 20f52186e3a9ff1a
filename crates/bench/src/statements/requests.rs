//! One request of each kind, on a small fleet.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Count;
use super::quiet_server::{KEPT, QuietServer};
use crate::bundles::{Bundle, MODEL};

const MODELS: &str = "/api/device-models";
const DEVICES: &str = "/api/devices";

/// All of them, in the order of their making.
pub(super) fn count(server: &mut QuietServer) -> Result<Vec<Count>> {
    let mut counts = Vec::new();
    let key = fleet(server, &mut counts)?;
    devices(server, &key, &mut counts)?;
    dumps(server, &key, &mut counts)?;
    jobs(server, &mut counts)?;
    lists(server, &mut counts)?;
    versions(server, &mut counts)?;
    Ok(counts)
}

/// A request with a body, or with an empty one.
fn note(
    server: &mut QuietServer,
    counts: &mut Vec<Count>,
    what: &'static str,
    (request, body): ((&str, &str), &[u8]),
) -> Result<Value> {
    let (answer, statements) = server.request(request, body)?;
    counts.push((what, statements));
    Ok(answer)
}

/// The key of a device of the model of every bundle.
fn fleet(server: &mut QuietServer, counts: &mut Vec<Count>) -> Result<String> {
    let model = json!({"code": MODEL, "name": "Demo"}).to_string();
    note(server, counts, "create a model", (("POST", MODELS), model.as_bytes()))?;
    publish(server, counts, ("publish the first version of a model", "1.0.0"))?;
    publish(server, counts, ("publish a further version", "1.0.1"))?;
    let device = device("Counted", Some(1)).to_string();
    let device = note(server, counts, "create a device", (("POST", DEVICES), device.as_bytes()))?;
    Ok(device["key"].as_str().context("a device without key")?.to_owned())
}

fn device(name: &str, model: Option<u64>) -> Value {
    let config = json!({"deviceName": name, "deviceEntityId": name, "enableOTA": true});
    match model {
        Some(model) => json!({"device_model_id": model, "config": config.to_string()}),
        None => json!({"config": config.to_string(), "active": true}),
    }
}

fn publish(
    server: &mut QuietServer,
    counts: &mut Vec<Count>,
    (what, version): (&'static str, &str),
) -> Result<()> {
    let bundle = Bundle { version, elf: 64 << 10, image: 128 << 10 }.build();
    let path = format!("/api/pipeline/models/{MODEL}/firmware");
    note(server, counts, what, (("POST", &path), &bundle)).map(drop)
}

fn devices(server: &mut QuietServer, key: &str, counts: &mut Vec<Count>) -> Result<()> {
    let config = device("Changed", None).to_string();
    let change = (("PUT", "/api/devices/1"), config.as_bytes());
    note(server, counts, "change a device", change)?;
    let polled = format!("/api/iot/firmware-version?device_key={key}");
    note(server, counts, "device: poll, first after a commit", (("GET", &polled), &[]))?;
    note(server, counts, "device: poll", (("GET", &polled), &[]))?;
    let config = format!("/api/iot/config?device_key={key}");
    note(server, counts, "device: config", (("GET", &config), &[]))?;
    let image = format!("/api/iot/firmware?device_key={key}");
    note(server, counts, "device: image", (("GET", &image), &[]))?;
    Ok(())
}

fn dumps(server: &mut QuietServer, key: &str, counts: &mut Vec<Count>) -> Result<()> {
    let path = format!("/api/iot/coredump?device_key={key}&chip=esp32s3&firmware_version=1.0.0");
    let dump = |number: u32| number.to_be_bytes();
    let stored = (("POST", path.as_str()), &dump(0)[..]);
    note(server, counts, "device: dump stored, first of the process", stored)?;
    let stored = (("POST", path.as_str()), &dump(1)[..]);
    note(server, counts, "device: dump stored", stored)?;
    note(server, counts, "device: dump repeated", stored)?;
    for number in 2..KEPT {
        server.request(("POST", &path), &dump(number))?;
    }
    let stored = (("POST", path.as_str()), &dump(KEPT)[..]);
    note(server, counts, "device: dump stored, another one evicted", stored)?;
    Ok(())
}

fn jobs(server: &mut QuietServer, counts: &mut Vec<Count>) -> Result<()> {
    let (job, statements) = server.claim()?;
    counts.push(("parse job claimed", statements));
    let statements = server.finish(job.context("nothing is due")?)?;
    counts.push(("parse job finished", statements));
    while let (Some(job), _) = server.claim()? {
        server.finish(job)?;
    }
    let (_, statements) = server.claim()?;
    counts.push(("no parse job due", statements));
    Ok(())
}

fn lists(server: &mut QuietServer, counts: &mut Vec<Count>) -> Result<()> {
    let of_device = "/api/devices/1/coredumps";
    for (what, path) in [
        ("list of models", MODELS),
        ("list of devices", DEVICES),
        ("list of versions of a model", "/api/device-models/1/firmware-versions"),
        ("list of dumps of a device", of_device),
        ("page of dumps of all devices", "/api/coredumps"),
        ("a device", "/api/devices/1"),
    ] {
        note(server, counts, what, (("GET", path), &[]))?;
    }
    let (dumps, _) = server.request(("GET", of_device), &[])?;
    let dumps = dumps["coredumps"].as_array().or(dumps.as_array()).context("no list of dumps")?;
    let id = dumps.first().and_then(|dump| dump["id"].as_i64()).context("no dump")?;
    let path = format!("{of_device}/{id}");
    note(server, counts, "a dump", (("GET", &path), &[]))?;
    let download = format!("{path}/download");
    note(server, counts, "download of a dump", (("GET", &download), &[]))?;
    let reparse = format!("{path}/reparse");
    note(server, counts, "parse a dump again", (("POST", &reparse), &[]))?;
    note(server, counts, "delete a dump", (("DELETE", &path), &[]))?;
    note(server, counts, "delete all dumps of a device", (("DELETE", of_device), &[]))?;
    Ok(())
}

fn versions(server: &mut QuietServer, counts: &mut Vec<Count>) -> Result<()> {
    let first = "/api/device-models/1/firmware-versions/1.0.0";
    let activate = format!("{first}/activate");
    note(server, counts, "activate a version", (("POST", &activate), &[]))?;
    let second = "/api/device-models/1/firmware-versions/1.0.1";
    note(server, counts, "delete a version", (("DELETE", second), &[]))?;
    note(server, counts, "delete a device", (("DELETE", "/api/devices/1"), &[]))?;
    Ok(())
}
