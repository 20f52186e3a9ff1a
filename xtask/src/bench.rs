//! Measures the release binary; every figure stands against a limit or beside what it is compared
//! with, and is the median of several runs.

mod bare_server;
mod bundles;
mod client;
mod downloads;
mod fleet;
mod listings;
mod machine;
mod memory;
mod polling;
mod report;
mod server;
mod startup;
mod uploads;
mod wrk;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand, ValueEnum};

pub(crate) use bare_server::BareServer;
use report::Figure;

use crate::program::{program, run};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The server: start, memory, polling, uploads, downloads, listings
    Http(Http),
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
        let Self::Http(http) = self;
        ensure!(http.runs > 0, "no runs asked for");
        if !http.skip_build {
            // One by one: building both at once would give the server the features of both.
            for package in ["coredock", "xtask"] {
                let build = ["build", "--release", "--locked", "--package", package];
                run(&mut program("cargo", &build))?;
            }
        }
        println!("\nBefore: {}", machine::state()?);
        let mut figures = Vec::new();
        for part in Part::value_variants() {
            if http.only.is_empty() || http.only.contains(part) {
                figures.extend(part.measure(http.runs)?);
            }
        }
        println!("After: {}\n", machine::state()?);
        println!("{}", report::table(&figures));
        let missed = figures.iter().filter(|figure| figure.verdict() == report::Verdict::Fail);
        let missed = missed.count();
        ensure!(missed == 0, "{missed} of {} figures are beyond their limit", figures.len());
        Ok(())
    }
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
