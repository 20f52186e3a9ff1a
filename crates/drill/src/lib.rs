//! Kills the real server under load again and again, and checks the data that it left (contract
//! §9).

#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod dice;
mod dumps;
mod embedded;
mod engine;
mod events;
mod fleet;
mod history;
mod load;
mod material;
mod process;
mod production;
mod recovery;
mod tally;
mod versions;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use coredock_testkit::program::{program, root, run};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use embedded::EmbeddedDrill;
use process::Site;
use production::ProductionDrill;
use tally::Table;

/// `MAX_COREDUMPS` of the drill.
const MAX_COREDUMPS: usize = 12;
/// `MAX_FIRMWARES` of the drill.
const MAX_FIRMWARES: usize = 3;
/// `MAX_COREDUMP_BYTES` of the drill.
const MAX_COREDUMP_BYTES: usize = 256 << 10;
/// A line is printed each time after this number of trials.
const REPORT_EVERY: usize = 10;

/// The drills.
#[derive(Subcommand)]
pub enum DrillCommand {
    /// Kills the server at random moments and checks that nothing was lost
    Kill(Kill),
}

/// How the server is killed.
#[derive(Args, Debug, Clone)]
pub struct Kill {
    /// Number of trials; each one ends a load by a kill
    #[arg(long, default_value_t = 100)]
    pub trials: usize,
    /// Determines moments and requests, as far as that is possible with several processes
    #[arg(long)]
    pub seed: Option<u64>,
    /// Binary of the server; by default it is built
    #[arg(long, conflicts_with = "release")]
    pub binary: Option<PathBuf>,
    /// Uses the release binary
    #[arg(long)]
    pub release: bool,
    /// Backends of the server
    #[arg(long, value_enum, default_value_t = Backends::Embedded)]
    pub backends: Backends,
    /// Servers that share database and bucket; 2 by default
    #[arg(long)]
    pub replicas: Option<usize>,
    /// Keeps the directory even if there are no violations
    #[arg(long)]
    pub keep: bool,
}

/// The backends of a server.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backends {
    /// SQLite and a local directory; one server, which is killed
    Embedded,
    /// PostgreSQL and S3; several servers, and their dependencies break as well
    Production,
}

/// Servers on shared backends by default.
const REPLICAS: usize = 2;

impl DrillCommand {
    /// Prints the actions and the findings; a violation is an error.
    pub fn run(self) -> Result<()> {
        let Self::Kill(kill) = self;
        kill.run()
    }
}

impl Kill {
    /// Runs all trials; a violation is an error that names the seed and the kept directory.
    pub fn run(&self) -> Result<()> {
        let binary = self.binary()?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        };
        let directory = TempDir::with_prefix_in("drill-", root().join("target"))?;
        let place = directory.path().to_owned();
        println!("Drill: {} trials, seed {seed}, in {}", self.trials, place.display());
        let outcome = self.drill(binary, place.clone(), seed);
        let failed = !matches!(&outcome, Ok(0));
        if self.keep || failed {
            let _kept = directory.keep();
        }
        let violations = outcome.with_context(|| {
            format!("the drill failed; seed {seed}, its files are in {}", place.display())
        })?;
        ensure!(
            violations == 0,
            "{violations} violations; seed {seed}, the files are in {}",
            place.display()
        );
        Ok(())
    }

    fn binary(&self) -> Result<PathBuf> {
        if let Some(binary) = &self.binary {
            return binary
                .canonicalize()
                .with_context(|| format!("cannot find the server {}", binary.display()));
        }
        let mut build = program("cargo", &["build", "--locked", "--package", "coredock"]);
        if self.release {
            build.arg("--release");
        }
        run(&mut build)?;
        let profile = if self.release { "release" } else { "debug" };
        Ok(root().join("target").join(profile).join("coredock"))
    }

    /// Returns the number of violations.
    fn drill(&self, binary: PathBuf, root: PathBuf, seed: u64) -> Result<usize> {
        if self.backends == Backends::Production {
            let replicas = self.replicas.unwrap_or(REPLICAS).max(1);
            self.run_trials(ProductionDrill::begin(&binary, &root, replicas, seed)?)
        } else {
            ensure!(
                self.replicas.is_none_or(|replicas| replicas == 1),
                "expected one replica with embedded backends"
            );
            self.run_trials(EmbeddedDrill::begin(Site::new(binary, root)?, seed)?)
        }
    }

    fn run_trials(&self, mut drill: impl Trials) -> Result<usize> {
        let began = Instant::now();
        for trial in 1..=self.trials {
            drill.trial(trial)?;
            if trial.is_multiple_of(REPORT_EVERY) || trial == self.trials {
                println!("{}", drill.progress(began.elapsed()));
            }
        }
        let table = drill.end()?;
        println!("\n{}", table.text);
        Ok(table.violations)
    }
}

/// A kind of drill.
trait Trials {
    fn trial(&mut self, number: usize) -> Result<()>;

    /// One line between trials.
    fn progress(&self, elapsed: Duration) -> String;

    /// Checks the data a last time.
    fn end(self) -> Result<Table>;
}

/// Drives the sidecar and the proxies of a drill.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
