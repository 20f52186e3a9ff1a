//! Dumps received: their rate against the rates of disk and database, memory, and long lists.

mod burst;
mod files;
mod production;

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::fleet::MAX_COREDUMPS;
use super::listings::list;
use super::report::{Figure, Limit, mib};
use super::server::Server;
use super::{commits, fleet};
use burst::{Burst, Bursts, Extent};
use coredock_testkit::program::root;
pub use production::Replica;
pub(super) use production::measure as measure_production;

/// Of each measurement.
const DURATION: Duration = Duration::from_secs(2);
/// Bytes of a dump.
const BODY: usize = 64 << 10;
/// Connections, and threads that write files.
const CONCURRENCY: usize = 16;
const NO_SYMBOLIZER: (&str, &str) = ("SYMBOLIZER", "off");
/// More dumps than a run sends.
const NO_EVICTION: (&str, &str) = ("MAX_COREDUMPS", "1000000");
/// Dumps received before each reading of the memory.
const FIRST_READING: usize = 2000;
const SECOND_READING: usize = 10_000;
const LISTED: usize = 2000;

/// All figures on SQLite and a local directory.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    let mut figures = rates(runs)?;
    figures.extend(evicting(runs)?);
    figures.push(memory(runs)?);
    figures.extend(lists(runs)?);
    Ok(figures)
}

/// Measures Coredock and both peers alternately, so that changes of the machine affect all of them.
fn rates(runs: usize) -> Result<Vec<Figure>> {
    println!("Ingest: {runs} times {DURATION:?} of files, of commits and of dumps, alternately");
    let (mut ratios, mut ratios_to_threads) = (Vec::new(), Vec::new());
    let (mut files, mut files_of_threads, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let mut dumps = Bursts::default();
    for _ in 0..runs {
        let directory = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let file_rate = files::written(directory.path(), 1, DURATION)?;
        let file_rate_of_threads = files::written(directory.path(), CONCURRENCY, DURATION)?;
        let commit_rate = commits::rate(directory.path(), DURATION)?;
        let server = Server::start(&[NO_SYMBOLIZER, NO_EVICTION])?;
        let received = Burst::prepare(&server)?.run(Extent::For(DURATION))?;
        ratios.push(received.per_second / file_rate.min(commit_rate));
        ratios_to_threads.push(received.per_second / file_rate_of_threads.min(commit_rate));
        files.push(file_rate);
        files_of_threads.push(file_rate_of_threads);
        commits.push(commit_rate);
        dumps.add(&received);
    }
    let name = "dumps, ratio to the slower of disk and database";
    let name_of_threads = "the same, files written by 16 threads at once";
    Ok(vec![
        Figure { name, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        Figure::without_limit(name_of_threads, "", ratios_to_threads),
        Figure::without_limit("dumps of 64 KiB (16 connections)", "/s", dumps.rates),
        Figure::without_limit("fsynced files of 64 KiB, one after another", "/s", files),
        Figure::without_limit("fsynced files of 64 KiB (16 threads)", "/s", files_of_threads),
        Figure::without_limit("commits of one row (SQLite, WAL, FULL)", "/s", commits),
        Figure::without_limit("dumps, median", "ms", dumps.medians),
        Figure::without_limit("dumps, p99", "ms", dumps.p99s),
    ])
}

/// Each dump evicts another one.
fn evicting(runs: usize) -> Result<Vec<Figure>> {
    println!(
        "Eviction: {runs} times {DURATION:?} of dumps of {CONCURRENCY} devices at their limit"
    );
    let mut dumps = Bursts::default();
    for _ in 0..runs {
        let server = Server::start(&[NO_SYMBOLIZER])?;
        let mut burst = Burst::prepare(&server)?;
        burst.run(Extent::Count(CONCURRENCY * MAX_COREDUMPS))?;
        dumps.add(&burst.run(Extent::For(DURATION))?);
    }
    Ok(vec![
        Figure::without_limit("dumps of 64 KiB, each evicting one", "/s", dumps.rates),
        Figure::without_limit("dumps, each evicting one, median", "ms", dumps.medians),
        Figure::without_limit("dumps, each evicting one, p99", "ms", dumps.p99s),
    ])
}

/// Memory which the server does not release after dumps.
fn memory(runs: usize) -> Result<Figure> {
    println!("Memory: {runs} times {SECOND_READING} dumps with default settings");
    let mut growth = Vec::new();
    for _ in 0..runs {
        let server = Server::start(&[NO_SYMBOLIZER])?;
        let mut burst = Burst::prepare(&server)?;
        burst.run(Extent::Count(FIRST_READING))?;
        let first = server.idle_memory()?;
        burst.run(Extent::Count(SECOND_READING - FIRST_READING))?;
        growth.push(mib(server.idle_memory()?.saturating_sub(first)));
    }
    let name = "memory growth from 2 000 to 10 000 dumps";
    Ok(Figure { name, unit: "MiB", runs: growth, limit: Limit::Below(8.0) })
}

fn lists(runs: usize) -> Result<Vec<Figure>> {
    println!("Listing: {LISTED} dumps of a device");
    let server = Server::start(&[NO_SYMBOLIZER, ("MAX_COREDUMPS", "2000")])?;
    let mut client = server.client()?;
    let model = fleet::create_model(&mut client)?;
    let key = fleet::create_device(&mut client, model, "Listed")?;
    for dump in 0..LISTED {
        let path = burst::path(&key);
        client.post(&path, &burst::body(dump, 1024))?.json(201)?;
    }
    let latencies = list(&mut client, "/api/devices/1/coredumps", LISTED, runs)?;
    Ok(vec![
        Figure::without_limit("list of 2 000 dumps, median", "ms", latencies.medians),
        Figure::without_limit("list of 2 000 dumps, p99", "ms", latencies.p99s),
    ])
}
