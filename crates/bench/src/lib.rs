//! Measures the release binary. Each figure is the median of several runs, with a limit or beside
//! the figure with which it is compared.

#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod auth;
mod bare_server;
mod bundles;
mod commits;
mod cpu;
mod downloads;
mod fleet;
mod ingest;
mod listings;
mod machine;
mod memory;
mod parse_job;
mod parsing;
mod polling;
mod release_build;
mod report;
mod server;
mod startup;
mod statements;
mod symbolize;
mod uploads;
mod usage;
mod wrk;

use std::ffi::OsStr;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand, ValueEnum};

pub use bare_server::BareServer;
pub use ingest::Replica;
use parsing::Workload;
pub use release_build::{RecordRustc, ReleaseBuild};
use report::Figure;

use coredock_testkit::fixtures::Architecture;
use coredock_testkit::program::{program, run};

#[derive(Subcommand)]
pub enum Bench {
    /// The server: start, memory, polling, uploads, downloads, listings
    Http(Http),
    /// Dumps received: rate against disk and database, memory, listings; on PostgreSQL and S3: rate
    /// against both servers, parse jobs
    Ingest(Ingest),
    /// The native symbolizer: time and memory of one dump, with an ELF and with an index
    Symbolize(Symbolize),
    /// Polls with tokens on both databases, against polls without authentication
    Auth(Auth),
    /// Counts the statements of each request on both databases
    Statements,
    /// A first release build: its processor time, time and memory of each crate
    Build(ReleaseBuild),
}

#[derive(Args)]
pub struct Symbolize {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Uses the release binaries without building them
    #[arg(long)]
    skip_build: bool,
    /// Measures only this architecture
    #[arg(long)]
    architecture: Option<Architecture>,
    /// Measures a server which parses instead: rate against its database, processor time, memory;
    /// on RISC-V by default
    #[arg(long)]
    server: bool,
    /// Number of dumps for one figure
    #[arg(long, default_value_t = 10_000, requires = "server")]
    dumps: usize,
    /// Size of a dump in KiB, filled up with erased flash
    #[arg(long, default_value_t = 64, requires = "server")]
    dump_kib: usize,
}

#[derive(Args)]
pub struct Ingest {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Uses the release binaries without building them
    #[arg(long)]
    skip_build: bool,
    /// Database and artifact store of the server
    #[arg(long, value_enum, default_value = "embedded")]
    backends: BackendKind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendKind {
    /// SQLite and a local directory
    Embedded,
    /// PostgreSQL and an S3 server, both started for the run
    Production,
}

#[derive(Args)]
pub struct Auth {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Uses the release binaries without building them
    #[arg(long)]
    skip_build: bool,
}

#[derive(Args)]
pub struct Http {
    /// How often each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measures only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Uses the release binaries without building them
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
    /// Prints a table of figures; a figure beyond its limit is an error.
    pub fn run(self) -> Result<()> {
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
                in_release(runs, skip_build, &arguments, measure)
            }
            Self::Symbolize(symbolize) => symbolize.run(),
            Self::Auth(Auth { runs, skip_build }) => {
                prepare(runs, skip_build, &["coredock"])?;
                measured(|| auth::measure(runs))
            }
            Self::Statements => statements::print(),
            Self::Build(build) => build.run(),
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
        let measure = || if self.server { self.measure_server() } else { self.measure() };
        in_release(self.runs, self.skip_build, &self.arguments(), measure)
    }

    /// The arguments which select the figures.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["symbolize".to_owned()];
        if let Some(only) = self.architecture {
            arguments.extend(["--architecture", only.as_str()].map(str::to_owned));
        }
        if self.server {
            let (dumps, kib) = (self.dumps.to_string(), self.dump_kib.to_string());
            let server = ["--server", "--dumps", &dumps, "--dump-kib", &kib];
            arguments.extend(server.map(str::to_owned));
        }
        arguments
    }

    fn measure_server(&self) -> Result<()> {
        let workload = Workload {
            architecture: self.architecture.unwrap_or(Architecture::Riscv),
            dump_bytes: self.dump_kib << 10,
            dumps: self.dumps,
        };
        measured(|| parsing::measure(workload, self.runs))
    }

    /// Prints a table for each architecture. A missed limit does not end the measurement.
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

/// Measures in the release build of this program, because its own work is part of the figures.
fn in_release(
    runs: usize,
    skip_build: bool,
    bench: &[impl AsRef<OsStr>],
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

/// Builds the release binaries one by one: a common build would give each of them the features of
/// all.
fn prepare(runs: usize, skip_build: bool, packages: &[&str]) -> Result<()> {
    ensure!(runs > 0, "expected at least one run, found --runs 0");
    if skip_build {
        return Ok(());
    }
    for package in packages {
        let build = ["build", "--release", "--locked", "--package", package];
        run(&mut program("cargo", &build))?;
    }
    Ok(())
}

/// Prints the figures between two lines about the machine.
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
