//! Dumps on their way from `PENDING` to `PARSED`, on a server with `SQLite` and a local directory:
//! their rate against that of the database, what they cost the processor, what is kept of them.

mod build;
mod fleet;
mod progress;

use std::time::{Duration, Instant};

use anyhow::Result;
use tempfile::TempDir;

use super::commits;
use super::memory::resident;
use super::report::{Figure, Limit, mib, per_second, told};
use super::server::Server;
use build::Build;
use coredock_testkit::fixtures::Architecture;
use coredock_testkit::program::root;
use fleet::{Fleet, KEPT_BY_DEFAULT};
use progress::Progress;

/// Of the peer.
const DURATION: Duration = Duration::from_secs(2);
const OFF: (&str, &str) = ("SYMBOLIZER", "off");
const NATIVE: (&str, &str) = ("SYMBOLIZER", "native");
/// Dumps parsed before anything is measured; the first of them has the index made.
const WARM_UP: usize = 1000;
/// Dumps delivered and parsed between two looks at the memory.
const ROUND: usize = 5000;
const FIRST_LOOK: usize = 10_000;
const LAST_LOOK: usize = 50_000;
/// What memory may have at any look behind the first, in parts of what it had then.
const FLAT: f64 = 1.1;

/// What is parsed.
#[derive(Clone, Copy)]
pub(super) struct Workload {
    /// Of the devices.
    pub(super) architecture: Architecture,
    /// Bytes that dumps are filled up to.
    pub(super) filling: usize,
    /// How many are waiting for one figure, besides those that warm the server up.
    pub(super) dumps: usize,
}

/// All figures of a server that parses.
pub(super) fn measure(workload: Workload, runs: usize) -> Result<Vec<Figure>> {
    let directory = TempDir::with_prefix_in("bench-", root().join("target"))?;
    let build = Build::make(directory.path(), workload)?;
    println!("{build}");
    let mut figures = rates(&build, workload.dumps, runs)?;
    figures.extend(deliveries(&build, workload.dumps, runs)?);
    figures.push(engine_alone(&build, runs)?);
    figures.extend(memory(&build, runs)?);
    Ok(figures)
}

/// Ours and the peer in turns, so that the machine's mood hits both.
fn rates(build: &Build, dumps: usize, runs: usize) -> Result<Vec<Figure>> {
    println!("Queue: {runs} times {DURATION:?} of commits and {dumps} waiting dumps in turns");
    let (mut ratios, mut ours, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let mut per_core = Vec::new();
    for _ in 0..runs {
        let mut server = waiting(build, dumps + WARM_UP)?;
        let directory = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let of_commits = commits::rate(directory.path(), DURATION)?;
        server.restart(&[NATIVE])?;
        let (rate, rate_per_core) = drain(&server, dumps)?;
        println!("  {rate:.0} dumps/s, {rate_per_core:.0} per core, {of_commits:.0} commits/s");
        ratios.push(rate / of_commits);
        ours.push(rate);
        commits.push(of_commits);
        per_core.push(rate_per_core);
    }
    let (what, limit) = ("dumps parsed, ratio to commits of one row", Limit::AtLeast(0.4));
    let (of_all, least) = ("dumps parsed per core, all of the server", Limit::AtLeast(500.0));
    Ok(vec![
        Figure { what, unit: "", runs: ratios, limit },
        told("dumps parsed", "/s", ours),
        told("commits of one row (SQLite, WAL, FULL), alone", "/s", commits),
        Figure { what: of_all, unit: "/s", runs: per_core, limit: least },
    ])
}

/// How much slower dumps are taken in while others are parsed.
fn deliveries(build: &Build, dumps: usize, runs: usize) -> Result<Vec<Figure>> {
    println!("Deliveries: {runs} times {dumps} dumps, parsed meanwhile or not, in turns");
    let (mut ratios, mut parsing) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let [without, with] =
            [OFF, NATIVE].map(|engine| delivered_per_second(build, dumps, engine));
        let (without, with) = (without?, with?);
        println!("  {without:.0} dumps/s while nobody parses, {with:.0} while dumps are parsed");
        ratios.push(with / without);
        parsing.push(with);
    }
    Ok(vec![
        told("dumps taken in while others are parsed, ratio to none", "", ratios),
        told("dumps taken in while others are parsed", "/s", parsing),
    ])
}

fn delivered_per_second(build: &Build, dumps: usize, engine: (&str, &str)) -> Result<f64> {
    let server = Server::start(&[engine])?;
    let devices = (dumps + WARM_UP).div_ceil(KEPT_BY_DEFAULT);
    let mut fleet = Fleet::prepare(&server, build, devices)?;
    fleet.deliver(WARM_UP)?;
    let began = Instant::now();
    fleet.deliver(dumps)?;
    per_second(dumps, began.elapsed())
}

/// A server whose dumps nobody parses, so many that no device loses one.
fn waiting(build: &Build, dumps: usize) -> Result<Server> {
    let server = Server::start(&[OFF])?;
    Fleet::prepare(&server, build, dumps.div_ceil(KEPT_BY_DEFAULT))?.deliver(dumps)?;
    Ok(server)
}

/// Dumps per second, and dumps per second of processor time of the whole process, once it is warm.
fn drain(server: &Server, dumps: usize) -> Result<(f64, f64)> {
    let mut progress = Progress::of(server)?;
    let first = progress.reaches(WARM_UP)?;
    let last = progress.reaches(WARM_UP + dumps)?;
    let parsed = last.parsed - first.parsed;
    let rate = per_second(parsed, last.at.duration_since(first.at))?;
    Ok((rate, per_second(parsed, last.spent.saturating_sub(first.spent))?))
}

/// One thread of this process does what the engine does, and nothing else.
fn engine_alone(build: &Build, runs: usize) -> Result<Figure> {
    let rates = (0..runs).map(|_| build.decoded_per_second()).collect::<Result<_>>()?;
    let (what, limit) = ("dumps decoded per core, the engine alone", Limit::AtLeast(500.0));
    Ok(Figure { what, unit: "/s", runs: rates, limit })
}

/// What is kept of dumps that were parsed and are gone, at the worst look. The limit stands behind a
/// tenth of what was there, which connections opened late and a heap in pieces may take.
fn memory(build: &Build, runs: usize) -> Result<Vec<Figure>> {
    println!("Memory: {runs} times {LAST_LOOK} dumps; MiB resident after each {ROUND}");
    let (mut growth, mut beyond) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let looks = looks_at_memory(build)?;
        println!(
            "  {}",
            looks.iter().map(|look| format!("{look:.1}")).collect::<Vec<_>>().join("  ")
        );
        let (before, behind) = looks.split_at(FIRST_LOOK / ROUND);
        let first = before.last().copied().unwrap_or_default();
        let most = behind.iter().copied().fold(first, f64::max);
        growth.push(most - first);
        beyond.push((most - first * FLAT).max(0.0));
    }
    let (what, limit) = ("the same, beyond a tenth of what was there", Limit::Below(8.0));
    Ok(vec![
        told("memory growth from 10 000 to 50 000 dumps", "MiB", growth),
        Figure { what, unit: "MiB", runs: beyond, limit },
    ])
}

/// Dumps are delivered while others are parsed; from the second round on each evicts one.
fn looks_at_memory(build: &Build) -> Result<Vec<f64>> {
    let server = Server::start(&[NATIVE])?;
    let mut fleet = Fleet::prepare(&server, build, ROUND / KEPT_BY_DEFAULT)?;
    let mut progress = Progress::of(&server)?;
    let look = |_| {
        fleet.deliver(ROUND)?;
        progress.reaches(fleet.delivered())?;
        Ok(mib(resident(server.pid())?))
    };
    (0..LAST_LOOK / ROUND).map(look).collect()
}
