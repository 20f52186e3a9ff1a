//! Measures the release binary; every figure stands against a limit or beside what it is compared
//! with, and is the median of several runs.

mod bare_server;
mod bundles;
mod commits;
mod downloads;
mod fleet;
mod ingest;
mod listings;
mod machine;
mod memory;
mod parse_job;
mod polling;
mod report;
mod server;
mod startup;
mod statements;
mod symbolize;
mod uploads;
mod wrk;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand, ValueEnum};

pub(crate) use bare_server::BareServer;
pub(crate) use ingest::Replica;
use report::Figure;

use crate::fixtures::Architecture;
use crate::program::{program, run};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The server: start, memory, polling, uploads, downloads, listings
    Http(Http),
    /// Taking in dumps: rate against disk and database, memory, listings; on servers: rate against
    /// theirs, parse jobs
    Ingest(Ingest),
    /// The native symbolizer: time and memory of one dump, with an ELF and with an index
    Symbolize(Symbolize),
    /// Counts the statements of each request on both databases
    Statements,
}

/// How the symbolizer is measured.
#[derive(Args)]
pub(crate) struct Symbolize {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Takes the release binaries as they are
    #[arg(long)]
    skip_build: bool,
    /// Only programs of this one
    #[arg(long)]
    architecture: Option<Architecture>,
}

/// How the intake of dumps is measured.
#[derive(Args)]
pub(crate) struct Ingest {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Takes the release binaries as they are
    #[arg(long)]
    skip_build: bool,
    /// Where rows and bytes lie
    #[arg(long, value_enum, default_value = "embedded")]
    backends: BackendKind,
}

/// What the server works with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendKind {
    /// `SQLite` and a local directory
    Embedded,
    /// `PostgreSQL` and an S3 server, started for this
    Production,
}

/// How the server is measured.
#[derive(Args)]
pub(crate) struct Http {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measures only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Takes the release binaries as they are
    #[arg(long)]
    skip_build: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Startup,
    Polling,
    Uploads,
    Downloads,
    Listings,
}

impl Bench {
    /// Prints a table of figures; one beyond its limit is an error.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Http(http) => {
                prepare(http.runs, http.skip_build, &["coredock", "xtask"])?;
                measured(|| http.measure())
            }
            Self::Ingest(Ingest { runs, skip_build, backends: BackendKind::Embedded }) => {
                prepare(runs, skip_build, &["coredock"])?;
                measured(|| ingest::measure(runs))
            }
            Self::Ingest(Ingest { runs, skip_build, backends: BackendKind::Production }) => {
                let arguments = ["ingest", "--backends", "production"];
                let measure = || measured(|| ingest::measure_production(runs));
                in_release((runs, skip_build), &arguments, measure)
            }
            Self::Symbolize(symbolize) => symbolize.run(),
            Self::Statements => statements::print(),
        }
    }
}

impl Http {
    fn measure(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for part in Part::value_variants() {
            if self.only.is_empty() || self.only.contains(part) {
                figures.extend(part.measure(self.runs)?);
            }
        }
        Ok(figures)
    }
}

impl Symbolize {
    fn run(&self) -> Result<()> {
        let Self { runs, skip_build, architecture } = *self;
        let only = architecture.map(|only| ["--architecture", only.as_str()]);
        let arguments: Vec<_> =
            ["symbolize"].into_iter().chain(only.into_iter().flatten()).collect();
        in_release((runs, skip_build), &arguments, || self.measure())
    }

    /// A table for each architecture. One that misses a limit does not keep others from being measured.
    fn measure(&self) -> Result<()> {
        let architectures = self.architecture.map_or(Architecture::ALL.to_vec(), |only| vec![only]);
        let mut missed = Vec::new();
        for architecture in architectures {
            println!("\n{}", architecture.as_str());
            if let Err(error) = measured(|| symbolize::measure(architecture, self.runs)) {
                missed.push(format!("{}: {error:#}", architecture.as_str()));
            }
        }
        ensure!(missed.is_empty(), missed.join("; "));
        Ok(())
    }
}

/// Measures in the release build of this program too: what it does itself is part of the figures.
fn in_release(
    (runs, skip_build): (usize, bool),
    bench: &[&str],
    measure: impl FnOnce() -> Result<()>,
) -> Result<()> {
    prepare(runs, skip_build, &["coredock", "xtask"])?;
    let release = server::release_binary("xtask");
    if std::env::current_exe()? == release {
        return measure();
    }
    let runs = runs.to_string();
    let mut again = program(&release.to_string_lossy(), &["bench"]);
    run(again.args(bench).args(["--skip-build", "--runs", &runs]))
}

/// Builds release binaries one by one: building all at once would give each the features of all.
fn prepare(runs: usize, skip_build: bool, packages: &[&str]) -> Result<()> {
    ensure!(runs > 0, "no runs asked for");
    if skip_build {
        return Ok(());
    }
    for package in packages {
        let build = ["build", "--release", "--locked", "--package", package];
        run(&mut program("cargo", &build))?;
    }
    Ok(())
}

/// Prints what was measured, between two lines about the machine.
fn measured(measure: impl FnOnce() -> Result<Vec<Figure>>) -> Result<()> {
    println!("\nBefore: {}", machine::state()?);
    let figures = measure()?;
    println!("After: {}\n", machine::state()?);
    println!("{}", report::table(&figures));
    let missed = figures.iter().filter(|figure| figure.verdict() == report::Verdict::Fail);
    let missed = missed.count();
    ensure!(missed == 0, "{missed} of {} figures are beyond their limit", figures.len());
    Ok(())
}

impl Part {
    fn measure(self, runs: usize) -> Result<Vec<Figure>> {
        match self {
            Self::Startup => startup::measure(runs),
            Self::Polling => polling::measure(runs),
            Self::Uploads => uploads::measure(runs),
            Self::Downloads => downloads::measure(runs),
            Self::Listings => listings::measure(runs),
        }
    }
}
