//! Dumps taken in, against what the disk and the database can do at most; memory and lists of many.

mod burst;
mod files;
mod production;

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::listings::list;
use super::report::{Figure, Limit, mib, told};
use super::server::Server;
use super::{commits, fleet};
use burst::{Burst, Extent, Taken};
use coredock_testkit::program::root;
pub use production::Replica;
pub(super) use production::measure as measure_production;

/// Of each peer, and of ours.
const DURATION: Duration = Duration::from_secs(2);
/// Bytes of a dump.
const BODY: usize = 64 << 10;
/// Connections, and threads that write files.
const AT_ONCE: usize = 16;
const OFF: (&str, &str) = ("SYMBOLIZER", "off");
/// More than are ever sent.
const KEEP_ALL: (&str, &str) = ("MAX_COREDUMPS", "1000000");
/// `MAX_COREDUMPS` when it is not set.
const KEPT_BY_DEFAULT: usize = 20;
const FIRST_LOOK: usize = 2000;
const SECOND_LOOK: usize = 10_000;
const LISTED: usize = 2000;

/// All figures of taking in dumps.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    let mut figures = rates(runs)?;
    figures.extend(evicting(runs)?);
    figures.push(memory(runs)?);
    figures.extend(lists(runs)?);
    Ok(figures)
}

/// Ours and both peers in turns, so that the machine's mood hits all of them.
fn rates(runs: usize) -> Result<Vec<Figure>> {
    println!("Ingest: {runs} times {DURATION:?} of files, of commits and of dumps in turns");
    let (mut ratios, mut strict, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let (mut files, mut files_at_once, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut medians, mut p99s) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let directory = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let of_files = files::written(directory.path(), 1, DURATION)?;
        let of_files_at_once = files::written(directory.path(), AT_ONCE, DURATION)?;
        let of_commits = commits::rate(directory.path(), DURATION)?;
        let server = Server::start(&[OFF, KEEP_ALL])?;
        let taken = Burst::prepare(&server)?.run(Extent::For(DURATION))?;
        ratios.push(taken.per_second / of_files.min(of_commits));
        strict.push(taken.per_second / of_files_at_once.min(of_commits));
        files.push(of_files);
        files_at_once.push(of_files_at_once);
        commits.push(of_commits);
        note(&taken, &mut [&mut ours, &mut medians, &mut p99s]);
    }
    let what = "dumps, ratio to the slower of both";
    Ok(vec![
        Figure { what, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        told("the same, files written by 16 threads at once", "", strict),
        told("dumps of 64 KiB (16 connections)", "/s", ours),
        told("fsynced files of 64 KiB, one after another", "/s", files),
        told("fsynced files of 64 KiB (16 threads), alone", "/s", files_at_once),
        told("commits of one row (SQLite, WAL, FULL), alone", "/s", commits),
        told("dumps, median", "ms", medians),
        told("dumps, p99", "ms", p99s),
    ])
}

/// Every dump makes another one go.
fn evicting(runs: usize) -> Result<Vec<Figure>> {
    println!("Eviction: {runs} times {DURATION:?} of dumps on {AT_ONCE} devices that are full");
    let (mut rates, mut medians, mut p99s) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let server = Server::start(&[OFF])?;
        let mut burst = Burst::prepare(&server)?;
        burst.run(Extent::Count(AT_ONCE * KEPT_BY_DEFAULT))?;
        let taken = burst.run(Extent::For(DURATION))?;
        note(&taken, &mut [&mut rates, &mut medians, &mut p99s]);
    }
    Ok(vec![
        told("dumps of 64 KiB, each evicting one", "/s", rates),
        told("dumps, each evicting one, median", "ms", medians),
        told("dumps, each evicting one, p99", "ms", p99s),
    ])
}

/// What is kept of dumps that are gone.
fn memory(runs: usize) -> Result<Figure> {
    println!("Memory: {runs} times {SECOND_LOOK} dumps with default settings");
    let mut growth = Vec::new();
    for _ in 0..runs {
        let server = Server::start(&[OFF])?;
        let mut burst = Burst::prepare(&server)?;
        burst.run(Extent::Count(FIRST_LOOK))?;
        let first = server.idle_memory()?;
        burst.run(Extent::Count(SECOND_LOOK - FIRST_LOOK))?;
        growth.push(mib(server.idle_memory()?.saturating_sub(first)));
    }
    let what = "memory growth from 2 000 to 10 000 dumps";
    Ok(Figure { what, unit: "MiB", runs: growth, limit: Limit::Below(8.0) })
}

fn lists(runs: usize) -> Result<Vec<Figure>> {
    println!("Listing: {LISTED} dumps of a device");
    let server = Server::start(&[OFF, ("MAX_COREDUMPS", "2000")])?;
    let mut client = server.client()?;
    let model = fleet::create_model(&mut client)?;
    let key = fleet::create_device(&mut client, model, "Listed")?;
    for dump in 0..LISTED {
        let path = burst::path(&key);
        client.post(&path, &burst::body(dump, 1024))?.json(201)?;
    }
    let (medians, p99s) = list(&mut client, "/api/devices/1/coredumps", (LISTED, runs))?;
    let (median, p99) = ("list of 2 000 dumps of a device", "list of 2 000 dumps, p99");
    Ok(vec![told(median, "ms", medians), told(p99, "ms", p99s)])
}

fn note(taken: &Taken, [rates, medians, p99s]: &mut [&mut Vec<f64>; 3]) {
    rates.push(taken.per_second);
    medians.push(taken.median);
    p99s.push(taken.p99);
}
