//! Long lists of a large fleet.

use std::thread::scope;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use super::bundles::Bundle;
use super::fleet;
use super::report::{Figure, quantile};
use super::server::Server;
use coredock_testkit::client::Client;

const VERSIONS: usize = 500;
const DEVICES: usize = 10_000;
const CREATORS: usize = 4;
const REQUESTS: usize = 100;

/// Latencies of several runs, in milliseconds.
#[derive(Default)]
pub(super) struct Latencies {
    pub(super) medians: Vec<f64>,
    pub(super) p99s: Vec<f64>,
}

/// Latencies of the whole lists of versions and of devices.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!("Listings: {VERSIONS} versions and {DEVICES} devices, {runs} times {REQUESTS} lists");
    let server = Server::start(&[("MAX_FIRMWARES", "1000")])?;
    let mut client = server.client()?;
    let model = fleet::create_model(&mut client)?;
    let began = Instant::now();
    for version in 0..VERSIONS {
        let version = format!("1.0.{version}");
        fleet::upload(&mut client, &Bundle { version: &version, elf: 104, image: 4096 }.build())?;
    }
    println!("{VERSIONS} versions published in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    create_devices(&server, model)?;
    println!("{DEVICES} devices created in {:.1} s", began.elapsed().as_secs_f64());
    let path = format!("/api/device-models/{model}/firmware-versions");
    let versions = list(&mut client, &path, VERSIONS, runs)?;
    let devices = list(&mut client, "/api/devices", DEVICES, runs)?;
    Ok(vec![
        Figure::without_limit("list of 500 versions, median", "ms", versions.medians),
        Figure::without_limit("list of 500 versions, p99", "ms", versions.p99s),
        Figure::without_limit("list of 10 000 devices, median", "ms", devices.medians),
        Figure::without_limit("list of 10 000 devices, p99", "ms", devices.p99s),
    ])
}

fn create_devices(server: &Server, model: u64) -> Result<()> {
    let create = move |creator: usize| {
        let mut client = server.client()?;
        (creator..DEVICES).step_by(CREATORS).try_for_each(|device| {
            fleet::create_device(&mut client, model, &format!("Device {device}")).map(drop)
        })
    };
    scope(|threads| {
        let creators: Vec<_> =
            (0..CREATORS).map(|creator| threads.spawn(move || create(creator))).collect();
        creators.into_iter().try_for_each(|creator| {
            creator.join().map_err(|_panic| anyhow!("a creating thread panicked"))?
        })
    })
}

/// Requests a list of `count` items again and again.
pub(super) fn list(
    client: &mut Client,
    path: &str,
    count: usize,
    runs: usize,
) -> Result<Latencies> {
    let first = client.get(path)?.json(200)?;
    ensure!(first["count"] == count, "{path}: expected {count} items, found {}", first["count"]);
    let mut all = Latencies::default();
    for _ in 0..runs {
        let mut latencies = Vec::new();
        for _ in 0..REQUESTS {
            let began = Instant::now();
            client.get(path)?.check_status(200).context(path.to_owned())?;
            latencies.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        all.medians.push(quantile(&latencies, 50).context("no latencies")?);
        all.p99s.push(quantile(&latencies, 99).context("no latencies")?);
    }
    Ok(all)
}
