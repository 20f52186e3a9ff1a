//! The native symbolizer: whole processes, and the cost and use of an index.

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
/// Dumps decoded with an open index for one figure.
const DECODED: u32 = 500;
const SEED: u64 = 11;

/// The figures of an ELF of one size.
struct Size {
    /// Files of padding in the ELF.
    padding: usize,
    elf_time: FigureSpec,
    elf_memory: FigureSpec,
    index_time: FigureSpec,
    decode_time: FigureSpec,
    build_time: FigureSpec,
    index_ratio: FigureSpec,
}

/// Name and limit of a figure.
struct FigureSpec {
    name: &'static str,
    limit: Limit,
}

const SIZES: [Size; 2] = [
    Size {
        padding: 58,
        elf_time: below(15.0, "4 MB: new process, ELF"),
        elf_memory: below(16.0, "4 MB: its peak memory"),
        index_time: below(3.0, "4 MB: new process, index"),
        decode_time: below(0.2, "4 MB: one more dump, index open"),
        build_time: below(50.0, "4 MB: building the index"),
        index_ratio: below(25.0, "4 MB: index in % of the ELF"),
    },
    Size {
        padding: 560,
        elf_time: below(80.0, "40 MB: new process, ELF"),
        elf_memory: below(64.0, "40 MB: its peak memory"),
        index_time: without_limit("40 MB: new process, index"),
        decode_time: without_limit("40 MB: one more dump, index open"),
        build_time: below(600.0, "40 MB: building the index"),
        index_ratio: below(25.0, "40 MB: index in % of the ELF"),
    },
];

const fn below(limit: f64, name: &'static str) -> FigureSpec {
    FigureSpec { name, limit: Limit::Below(limit) }
}

const fn without_limit(name: &'static str) -> FigureSpec {
    FigureSpec { name, limit: Limit::None }
}

impl FigureSpec {
    fn figure(&self, unit: &'static str, runs: Vec<f64>) -> Figure {
        Figure { name: self.name, unit, runs, limit: self.limit }
    }
}

/// Each process starts anew, with its files in the page cache.
pub(super) fn measure(architecture: Architecture, runs: usize) -> Result<Vec<Figure>> {
    install_if_missing(TIME, "time")?;
    let mut figures = Vec::new();
    for size in SIZES {
        let directory = TempDir::new()?;
        let files = Files::make(directory.path(), architecture, size.padding)?;
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
    fn make(directory: &Path, architecture: Architecture, padding: usize) -> Result<Self> {
        let generated = crashed(directory, architecture, padding)?;
        let case = generated.cases.first().context("the program has no crash")?;
        let dump = directory.join("crash.dmp");
        fs::write(&dump, case.snapshot.elf_core(NotePadding::NotCounted))?;
        let (index_dir, tasks) = (directory.join("indexes"), case.snapshot.tasks.len());
        Ok(Self { elf: generated.elf, dump, index_dir, tasks })
    }
}

/// Builds a program and crashes it once.
pub(super) fn crashed(
    directory: &Path,
    architecture: Architecture,
    padding: usize,
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
    let by_elf = [dump.as_str(), "--elf", &elf];
    // The first process builds the index; the others find it by the build id of the dump.
    milliseconds(&[&dump, "--elf", &elf, "--index-dir", &directory])?;
    let by_index = [dump.as_str(), "--index-dir", &directory];
    let (mut elf_times, mut memories, mut index_times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs * 5 {
        elf_times.push(milliseconds(&by_elf)?);
        memories.push(peak_mib(&by_elf, Path::new(&directory))?);
        index_times.push(milliseconds(&by_index)?);
    }
    Ok(vec![
        size.elf_time.figure("ms", elf_times),
        size.elf_memory.figure("MiB", memories),
        size.index_time.figure("ms", index_times),
    ])
}

fn measure_index(size: &Size, files: &Files, runs: usize) -> Result<Vec<Figure>> {
    let elf = fs::read(&files.elf)?;
    let sha256 = Sha256Digest::of(&elf);
    let (mut build_times, mut decode_times) = (Vec::new(), Vec::new());
    let mut length = 0;
    let dump = Bytes::from(fs::read(&files.dump)?);
    for _ in 0..runs {
        let began = Instant::now();
        let index = build_index(&elf, sha256)?;
        build_times.push(began.elapsed().as_secs_f64() * 1000.0);
        length = index.len();
        let firmware = Firmware::of_index(Index::open(index.into())?);
        let began = Instant::now();
        for _ in 0..DECODED {
            let report = decode(&dump, Some(&firmware))?;
            ensure!(report.crashed_task().is_some(), "the report has no crashed task");
        }
        decode_times.push(began.elapsed().as_secs_f64() * 1000.0 / f64::from(DECODED));
    }
    let ratio = mib(length as u64) / mib(elf.len() as u64) * 100.0;
    Ok(vec![
        size.decode_time.figure("ms", decode_times),
        size.build_time.figure("ms", build_times),
        size.index_ratio.figure("%", vec![ratio]),
    ])
}

/// The time of a process from its start to its end.
fn milliseconds(arguments: &[&str]) -> Result<f64> {
    let coredock = release_binary("coredock").display().to_string();
    let mut decode = program(&coredock, &["decode"]);
    decode.args(arguments).stdout(Stdio::null());
    let began = Instant::now();
    silently(&mut decode)?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn peak_mib(arguments: &[&str], directory: &Path) -> Result<f64> {
    let output = directory.join("peak").display().to_string();
    let coredock = release_binary("coredock").display().to_string();
    let mut time = program(TIME, &["-f", "%M", "-o", &output, &coredock, "decode"]);
    silently(time.args(arguments).stdout(Stdio::null()))?;
    let kibibytes: u32 = fs::read_to_string(&output)?.trim().parse()?;
    Ok(f64::from(kibibytes) / 1024.0)
}
