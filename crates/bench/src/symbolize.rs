//! The native symbolizer: whole processes, and what an index costs and brings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};
use coredock_testkit::snapshot::NotePadding;
use tempfile::TempDir;

use super::report::{Figure, Limit, mib};
use super::server::release_binary;
use coredock_testkit::fixtures::{Architecture, Generated, Optimization, Request};
use coredock_testkit::program::{install_if_missing, program, silently};

/// Prints the largest resident size of a program in KiB.
const TIME: &str = "/usr/bin/time";
/// Dumps decoded for one figure of a warm process.
const WARM: u32 = 500;
const SEED: u64 = 11;

/// A program of a size, and what is wanted of it.
struct Size {
    padding: usize,
    cold: (&'static str, f64),
    memory: (&'static str, f64),
    indexed: (&'static str, Limit),
    warm: (&'static str, Limit),
    build: (&'static str, f64),
    ratio: (&'static str, f64),
}

const SIZES: [Size; 2] = [
    Size {
        padding: 58,
        cold: ("4 MB: new process, ELF", 15.0),
        memory: ("4 MB: its peak memory", 16.0),
        indexed: ("4 MB: new process, index", Limit::Below(3.0)),
        warm: ("4 MB: one dump more, index open", Limit::Below(0.2)),
        build: ("4 MB: making the index", 50.0),
        ratio: ("4 MB: index in % of the ELF", 25.0),
    },
    Size {
        padding: 560,
        cold: ("40 MB: new process, ELF", 80.0),
        memory: ("40 MB: its peak memory", 64.0),
        indexed: ("40 MB: new process, index", Limit::None),
        warm: ("40 MB: one dump more, index open", Limit::None),
        build: ("40 MB: making the index", 600.0),
        ratio: ("40 MB: index in % of the ELF", 25.0),
    },
];

/// Times are medians; each process starts anew with its files in the page cache.
pub(super) fn measure(architecture: Architecture, runs: usize) -> Result<Vec<Figure>> {
    install_if_missing(TIME, "time")?;
    let mut figures = Vec::new();
    for size in SIZES {
        let directory = TempDir::new()?;
        let files = Files::make(directory.path(), (architecture, size.padding))?;
        let length = fs::metadata(&files.elf)?.len();
        println!("ELF of {:.1} MiB, dump of {} tasks", mib(length), files.tasks);
        figures.extend(measure_processes(&size, &files, runs)?);
        figures.extend(measure_index(&size, &files, runs)?);
    }
    Ok(figures)
}

struct Files {
    elf: PathBuf,
    dump: PathBuf,
    index_dir: PathBuf,
    tasks: usize,
}

impl Files {
    fn make(directory: &Path, (architecture, padding): (Architecture, usize)) -> Result<Self> {
        let generated = crashed(directory, (architecture, padding))?;
        let case = generated.cases.first().context("there is no case")?;
        let dump = directory.join("crash.dmp");
        fs::write(&dump, case.snapshot.elf_core(NotePadding::NotCounted))?;
        let (index_dir, tasks) = (directory.join("indexes"), case.snapshot.tasks.len());
        Ok(Self { elf: generated.elf, dump, index_dir, tasks })
    }
}

/// Builds a program and crashes it once.
pub(super) fn crashed(
    directory: &Path,
    (architecture, padding): (Architecture, usize),
) -> Result<Generated> {
    println!("Building a program with {padding} files of padding");
    architecture.generate(&Request {
        cases: 1,
        seed: SEED,
        optimization: Optimization::Os,
        padding,
        directory: directory.to_owned(),
    })
}

fn measure_processes(size: &Size, files: &Files, runs: usize) -> Result<Vec<Figure>> {
    let [dump, elf, directory] =
        [&files.dump, &files.elf, &files.index_dir].map(|path| path.display().to_string());
    let cold = [dump.as_str(), "--elf", &elf];
    // The first makes the index, the others find it by the build id of the dump.
    milliseconds(&[&dump, "--elf", &elf, "--index-dir", &directory])?;
    let by_index = [dump.as_str(), "--index-dir", &directory];
    let (mut colds, mut memories, mut shorts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs * 5 {
        colds.push(milliseconds(&cold)?);
        memories.push(peak_mib(&cold, Path::new(&directory))?);
        shorts.push(milliseconds(&by_index)?);
    }
    Ok(vec![
        figure(size.cold.0, "ms", colds, Limit::Below(size.cold.1)),
        figure(size.memory.0, "MiB", memories, Limit::Below(size.memory.1)),
        figure(size.indexed.0, "ms", shorts, size.indexed.1),
    ])
}

fn measure_index(size: &Size, files: &Files, runs: usize) -> Result<Vec<Figure>> {
    let elf = fs::read(&files.elf)?;
    let sha256 = Sha256Digest::of(&elf);
    let (mut builds, mut warms) = (Vec::new(), Vec::new());
    let mut length = 0;
    let dump = Bytes::from(fs::read(&files.dump)?);
    for _ in 0..runs {
        let began = Instant::now();
        let index = build_index(&elf, sha256)?;
        builds.push(began.elapsed().as_secs_f64() * 1000.0);
        length = index.len();
        let firmware = Firmware::of_index(Index::open(index.into())?);
        let began = Instant::now();
        for _ in 0..WARM {
            let report = decode(&dump, Some(&firmware))?;
            ensure!(report.crashed_task().is_some(), "no task crashed");
        }
        warms.push(began.elapsed().as_secs_f64() * 1000.0 / f64::from(WARM));
    }
    let ratio = mib(length as u64) / mib(elf.len() as u64) * 100.0;
    Ok(vec![
        figure(size.warm.0, "ms", warms, size.warm.1),
        figure(size.build.0, "ms", builds, Limit::Below(size.build.1)),
        figure(size.ratio.0, "%", vec![ratio], Limit::Below(size.ratio.1)),
    ])
}

fn figure(what: &'static str, unit: &'static str, runs: Vec<f64>, limit: Limit) -> Figure {
    Figure { what, unit, runs, limit }
}

/// How long a process takes, from its start to its end.
fn milliseconds(arguments: &[&str]) -> Result<f64> {
    let coredock = release_binary("coredock").display().to_string();
    let mut decode = program(&coredock, &["decode"]);
    decode.args(arguments).stdout(Stdio::null());
    let began = Instant::now();
    silently(&mut decode)?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn peak_mib(arguments: &[&str], beside: &Path) -> Result<f64> {
    let told = beside.join("peak");
    let coredock = release_binary("coredock").display().to_string();
    let place = told.display().to_string();
    let mut time = program(TIME, &["-f", "%M", "-o", &place, &coredock, "decode"]);
    silently(time.args(arguments).stdout(Stdio::null()))?;
    let kibibytes: u32 = fs::read_to_string(&told)?.trim().parse()?;
    Ok(f64::from(kibibytes) / 1024.0)
}
