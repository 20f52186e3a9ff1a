//! Dumps on their way from `PENDING` to `PARSED`, on a server with SQLite and a local directory:
//! their rate against that of the database, their processor time, and the memory growth by them.

mod build;
mod fleet;
mod progress;

use std::time::{Duration, Instant};

use anyhow::Result;
use tempfile::TempDir;

use super::commits;
use super::fleet::MAX_COREDUMPS;
use super::memory::resident;
use super::report::{Figure, Limit, mib, per_second};
use super::server::Server;
use build::Build;
use coredock_testkit::fixtures::Architecture;
use coredock_testkit::program::root;
use fleet::Fleet;
use progress::Progress;

/// Of each measurement of commits.
const DURATION: Duration = Duration::from_secs(2);
const OFF: (&str, &str) = ("SYMBOLIZER", "off");
const NATIVE: (&str, &str) = ("SYMBOLIZER", "native");
/// Dumps parsed before anything is measured; the index is built for the first of them.
const WARM_UP: usize = 1000;
/// Dumps delivered and parsed between two readings of the memory.
const ROUND: usize = 5000;
/// Dumps parsed before the reading with which later ones are compared, and before the last one.
const FIRST_READING: usize = 10_000;
const LAST_READING: usize = 50_000;
/// Memory is flat as long as it is below this multiple of the first reading.
const FLAT: f64 = 1.1;

/// The dumps which are parsed.
#[derive(Clone, Copy)]
pub(super) struct Workload {
    pub(super) architecture: Architecture,
    /// Bytes of a dump, filled up with erased flash.
    pub(super) dump_bytes: usize,
    /// Number of dumps for one figure, without those of the warm-up.
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

/// Measures dumps and commits alternately, so that changes of the machine affect all rates.
fn rates(build: &Build, dumps: usize, runs: usize) -> Result<Vec<Figure>> {
    println!("Queue: {runs} times {DURATION:?} of commits and {dumps} pending dumps, alternately");
    let (mut ratios, mut rates, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let mut per_core = Vec::new();
    for _ in 0..runs {
        let mut server = with_pending_dumps(build, dumps + WARM_UP)?;
        let directory = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let commit_rate = commits::rate(directory.path(), DURATION)?;
        server.restart(&[NATIVE])?;
        let (rate, rate_per_core) = drain(&server, dumps)?;
        println!("  {rate:.0} dumps/s, {rate_per_core:.0} per core, {commit_rate:.0} commits/s");
        ratios.push(rate / commit_rate);
        rates.push(rate);
        commits.push(commit_rate);
        per_core.push(rate_per_core);
    }
    let (name, limit) = ("dumps parsed, ratio to commits of one row", Limit::AtLeast(0.4));
    let per_core = Figure {
        name: "dumps parsed per core, all of the server",
        unit: "/s",
        runs: per_core,
        limit: Limit::AtLeast(500.0),
    };
    Ok(vec![
        Figure { name, unit: "", runs: ratios, limit },
        Figure::without_limit("dumps parsed", "/s", rates),
        Figure::without_limit("commits of one row (SQLite, WAL, FULL)", "/s", commits),
        per_core,
    ])
}

/// The rate of deliveries while dumps are parsed, against the rate without parsing.
fn deliveries(build: &Build, dumps: usize, runs: usize) -> Result<Vec<Figure>> {
    println!("Deliveries: {runs} times {dumps} dumps without and with parsing, alternately");
    let (mut ratios, mut parsing) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let [without, with] =
            [OFF, NATIVE].map(|engine| delivered_per_second(build, dumps, engine));
        let (without, with) = (without?, with?);
        println!("  {without:.0} dumps/s without parsing, {with:.0} while dumps are parsed");
        ratios.push(with / without);
        parsing.push(with);
    }
    let ratio = "dumps received while others are parsed, ratio to none";
    Ok(vec![
        Figure::without_limit(ratio, "", ratios),
        Figure::without_limit("dumps received while others are parsed", "/s", parsing),
    ])
}

fn delivered_per_second(build: &Build, dumps: usize, engine: (&str, &str)) -> Result<f64> {
    let server = Server::start(&[engine])?;
    let devices = (dumps + WARM_UP).div_ceil(MAX_COREDUMPS);
    let mut fleet = Fleet::prepare(&server, build, devices)?;
    fleet.deliver(WARM_UP)?;
    let began = Instant::now();
    fleet.deliver(dumps)?;
    per_second(dumps, began.elapsed())
}

/// A server without symbolizer, with so many devices that no dump is evicted.
fn with_pending_dumps(build: &Build, dumps: usize) -> Result<Server> {
    let server = Server::start(&[OFF])?;
    Fleet::prepare(&server, build, dumps.div_ceil(MAX_COREDUMPS))?.deliver(dumps)?;
    Ok(server)
}

/// Dumps per second, and dumps per second of processor time of the whole process, after the
/// warm-up.
fn drain(server: &Server, dumps: usize) -> Result<(f64, f64)> {
    let mut progress = Progress::of(server)?;
    let first = progress.wait_for(WARM_UP)?;
    let last = progress.wait_for(WARM_UP + dumps)?;
    let parsed = last.parsed - first.parsed;
    let rate = per_second(parsed, last.at.duration_since(first.at))?;
    Ok((rate, per_second(parsed, last.spent.saturating_sub(first.spent))?))
}

/// The engine on one thread of this process.
fn engine_alone(build: &Build, runs: usize) -> Result<Figure> {
    let rates = (0..runs).map(|_| build.decoded_per_second()).collect::<Result<_>>()?;
    let (name, limit) = ("dumps decoded per core, the engine alone", Limit::AtLeast(500.0));
    Ok(Figure { name, unit: "/s", runs: rates, limit })
}

/// Memory growth at the largest reading. The limit applies beyond a tenth of the initial memory,
/// which connections opened late and a fragmented heap may take.
fn memory(build: &Build, runs: usize) -> Result<Vec<Figure>> {
    println!("Memory: {runs} times {LAST_READING} dumps; MiB resident after each {ROUND}");
    let (mut growth, mut beyond) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let readings = read_memory(build)?;
        let shown: Vec<_> = readings.iter().map(|reading| format!("{reading:.1}")).collect();
        println!("  {}", shown.join("  "));
        let (before, after) = readings.split_at(FIRST_READING / ROUND);
        let first = before.last().copied().unwrap_or_default();
        let largest = after.iter().copied().fold(first, f64::max);
        growth.push(largest - first);
        beyond.push((largest - first * FLAT).max(0.0));
    }
    let (name, limit) = ("the same, beyond a tenth of the initial memory", Limit::Below(8.0));
    Ok(vec![
        Figure::without_limit("memory growth from 10 000 to 50 000 dumps", "MiB", growth),
        Figure { name, unit: "MiB", runs: beyond, limit },
    ])
}

/// The resident memory after each round, in MiB. Dumps are delivered while others are parsed; from
/// the second round on each evicts another one.
fn read_memory(build: &Build) -> Result<Vec<f64>> {
    let server = Server::start(&[NATIVE])?;
    let mut fleet = Fleet::prepare(&server, build, ROUND / MAX_COREDUMPS)?;
    let mut progress = Progress::of(&server)?;
    let read = |_| {
        fleet.deliver(ROUND)?;
        progress.wait_for(fleet.delivered())?;
        Ok(mib(resident(server.pid())?))
    };
    (0..LAST_READING / ROUND).map(read).collect()
}
