//! Kills the real server under load again and again, and looks at what it left (contract §9).

mod dice;
mod engine;
mod events;
mod findings;
mod fleet;
mod ledger;
mod load;
mod material;
mod objects;
mod process;
mod recovery;
mod rows;
mod tally;
mod trial;
mod versions;

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use tempfile::TempDir;

use crate::program::{program, root, run};
use process::Site;
use trial::Drill;

/// `MAX_COREDUMPS` of the drill.
const MAX_COREDUMPS: usize = 12;
/// `MAX_FIRMWARES` of the drill.
const MAX_FIRMWARES: usize = 3;
/// `MAX_COREDUMP_BYTES` of the drill.
const MAX_COREDUMP_BYTES: usize = 256 << 10;
/// A line is printed after so many trials.
const REPORTED: usize = 10;

/// What can be drilled.
#[derive(Subcommand)]
pub(crate) enum DrillCommand {
    /// Kills the server at random moments and checks that nothing was lost
    Kill(Kill),
}

/// How the server is killed.
#[derive(Args, Debug, Clone)]
pub(crate) struct Kill {
    /// How often a load is cut by a kill
    #[arg(long, default_value_t = 100)]
    pub(crate) trials: usize,
    /// Determines moments and requests, as far as two processes can be determined
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The server; by default it is built
    #[arg(long, conflicts_with = "release")]
    pub(crate) binary: Option<PathBuf>,
    /// Drills the release binary
    #[arg(long)]
    pub(crate) release: bool,
    /// Keeps the directory even if nothing is wrong
    #[arg(long)]
    pub(crate) keep: bool,
}

impl DrillCommand {
    /// Prints what was done and found; a violation is an error.
    pub(crate) fn run(self) -> Result<()> {
        let Self::Kill(kill) = self;
        kill.run()
    }
}

impl Kill {
    /// Runs all trials; a violation is an error that names the seed and the kept directory.
    pub(crate) fn run(&self) -> Result<()> {
        let binary = self.binary()?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        };
        let directory = TempDir::with_prefix_in("drill-", root().join("target"))?;
        let place = directory.path().to_owned();
        println!("Drill: {} trials, seed {seed}, in {}", self.trials, place.display());
        let site = Site::new(binary, place.clone())?;
        let outcome = drill(site, (self.trials, seed));
        let failed = !matches!(&outcome, Ok(0));
        if self.keep || failed {
            let _kept = directory.keep();
        }
        let violations = outcome.with_context(|| {
            format!("the drill broke off; seed {seed}, everything is in {}", place.display())
        })?;
        ensure!(
            violations == 0,
            "{violations} violations; seed {seed}, everything is in {}",
            place.display()
        );
        Ok(())
    }

    fn binary(&self) -> Result<PathBuf> {
        if let Some(binary) = &self.binary {
            return binary.canonicalize().with_context(|| format!("no {}", binary.display()));
        }
        let mut build = program("cargo", &["build", "--locked", "--package", "coredock"]);
        if self.release {
            build.arg("--release");
        }
        run(&mut build)?;
        let profile = if self.release { "release" } else { "debug" };
        Ok(root().join("target").join(profile).join("coredock"))
    }
}

/// Returns how many violations there were.
fn drill(site: Site, (trials, seed): (usize, u64)) -> Result<usize> {
    let began = Instant::now();
    let mut drill = Drill::begin(site, seed)?;
    for trial in 1..=trials {
        drill.trial(trial)?;
        if trial % REPORTED == 0 || trial == trials {
            println!("{}", drill.progress(trial, began.elapsed()));
        }
    }
    let table = drill.end()?;
    println!("\n{}", table.text);
    Ok(table.violations)
}
