//! One request of each kind, on a small fleet.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Count;
use super::quiet_server::{MAX_COREDUMPS, QuietServer};
use crate::bundles::{Bundle, MODEL};

const MODELS: &str = "/api/device-models";
const DEVICES: &str = "/api/devices";

/// The statements of each request, in the order of the requests.
pub(super) fn count(server: &mut QuietServer) -> Result<Vec<Count>> {
    let mut counter = Counter { server, counts: Vec::new() };
    let key = fleet(&mut counter)?;
    devices(&mut counter, &key)?;
    dumps(&mut counter, &key)?;
    jobs(&mut counter)?;
    lists(&mut counter)?;
    versions(&mut counter)?;
    Ok(counter.counts)
}

struct Counter<'a> {
    server: &'a mut QuietServer,
    counts: Vec<Count>,
}

impl Counter<'_> {
    fn get(&mut self, request: &'static str, path: &str) -> Result<Value> {
        self.send(request, "GET", path, &[])
    }

    fn post(&mut self, request: &'static str, path: &str, body: &[u8]) -> Result<Value> {
        self.send(request, "POST", path, body)
    }

    fn delete(&mut self, request: &'static str, path: &str) -> Result<Value> {
        self.send(request, "DELETE", path, &[])
    }

    fn send(
        &mut self,
        request: &'static str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Value> {
        let (answer, statements) = self.server.request(method, path, body)?;
        self.add(request, statements);
        Ok(answer)
    }

    fn add(&mut self, request: &'static str, statements: u64) {
        self.counts.push(Count { request, statements });
    }
}

/// Creates a model, its versions and a device, and returns the key of the device.
fn fleet(counter: &mut Counter<'_>) -> Result<String> {
    let model = json!({"code": MODEL, "name": "Demo"}).to_string();
    counter.post("create a model", MODELS, model.as_bytes())?;
    publish(counter, "publish the first version of a model", "1.0.0")?;
    publish(counter, "publish a further version", "1.0.1")?;
    let device = device("Counted", Some(1)).to_string();
    let device = counter.post("create a device", DEVICES, device.as_bytes())?;
    Ok(device["key"].as_str().context("the new device has no key")?.to_owned())
}

fn device(name: &str, model: Option<u64>) -> Value {
    let config = json!({"deviceName": name, "deviceEntityId": name, "enableOTA": true});
    match model {
        Some(model) => json!({"device_model_id": model, "config": config.to_string()}),
        None => json!({"config": config.to_string(), "active": true}),
    }
}

fn publish(counter: &mut Counter<'_>, request: &'static str, version: &str) -> Result<()> {
    let bundle = Bundle { version, elf: 64 << 10, image: 128 << 10 }.build();
    let path = format!("/api/pipeline/models/{MODEL}/firmware");
    counter.post(request, &path, &bundle).map(drop)
}

fn devices(counter: &mut Counter<'_>, key: &str) -> Result<()> {
    let config = device("Changed", None).to_string();
    counter.send("change a device", "PUT", "/api/devices/1", config.as_bytes())?;
    let poll = format!("/api/iot/firmware-version?device_key={key}");
    counter.get("device: poll, first after a commit", &poll)?;
    counter.get("device: poll", &poll)?;
    counter.get("device: config", &format!("/api/iot/config?device_key={key}"))?;
    counter.get("device: image", &format!("/api/iot/firmware?device_key={key}"))?;
    Ok(())
}

fn dumps(counter: &mut Counter<'_>, key: &str) -> Result<()> {
    let path = format!("/api/iot/coredump?device_key={key}&chip=esp32s3&firmware_version=1.0.0");
    let dump = |number: u32| number.to_be_bytes();
    counter.post("device: dump stored, first of the process", &path, &dump(0))?;
    counter.post("device: dump stored", &path, &dump(1))?;
    counter.post("device: dump repeated", &path, &dump(1))?;
    for number in 2..MAX_COREDUMPS {
        counter.server.request("POST", &path, &dump(number))?;
    }
    counter.post("device: dump stored, another one evicted", &path, &dump(MAX_COREDUMPS))?;
    Ok(())
}

fn jobs(counter: &mut Counter<'_>) -> Result<()> {
    let (job, statements) = counter.server.claim()?;
    counter.add("parse job claimed", statements);
    let statements = counter.server.finish(job.context("no parse job is due")?)?;
    counter.add("parse job finished", statements);
    while let (Some(job), _) = counter.server.claim()? {
        counter.server.finish(job)?;
    }
    let (_, statements) = counter.server.claim()?;
    counter.add("no parse job due", statements);
    Ok(())
}

fn lists(counter: &mut Counter<'_>) -> Result<()> {
    let dumps_of_device = "/api/devices/1/coredumps";
    counter.get("list of models", MODELS)?;
    counter.get("list of devices", DEVICES)?;
    counter.get("list of versions of a model", "/api/device-models/1/firmware-versions")?;
    counter.get("list of dumps of a device", dumps_of_device)?;
    counter.get("page of dumps of all devices", "/api/coredumps")?;
    counter.get("a device", "/api/devices/1")?;
    let (dumps, _) = counter.server.request("GET", dumps_of_device, &[])?;
    let dumps = dumps["coredumps"].as_array().or(dumps.as_array()).context("no list of dumps")?;
    let id = dumps.first().and_then(|dump| dump["id"].as_i64()).context("no dump")?;
    let path = format!("{dumps_of_device}/{id}");
    counter.get("a dump", &path)?;
    counter.get("download of a dump", &format!("{path}/download"))?;
    counter.post("parse a dump again", &format!("{path}/reparse"), &[])?;
    counter.delete("delete a dump", &path)?;
    counter.delete("delete all dumps of a device", dumps_of_device)?;
    Ok(())
}

fn versions(counter: &mut Counter<'_>) -> Result<()> {
    let first = "/api/device-models/1/firmware-versions/1.0.0";
    counter.post("activate a version", &format!("{first}/activate"), &[])?;
    counter.delete("delete a version", "/api/device-models/1/firmware-versions/1.0.1")?;
    counter.delete("delete a device", "/api/devices/1")?;
    Ok(())
}
