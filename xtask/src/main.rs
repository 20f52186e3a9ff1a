//! The development commands of this repository: `cargo xtask --help` lists them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user"
)]

mod ci;
mod fuzz;
mod layers;
mod licences;
mod roms;
mod s3_server;
mod small_fs;
mod test_run;
mod verify_unwind;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use coredock_bench::{BareServer, Bench, RecordRustc, Replica};
use coredock_drill::DrillCommand;
use coredock_testkit::fixtures::Architecture;

/// Development commands of the Coredock repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs what CI runs: format, lints, documentation, layers, licences, tests
    Ci,
    /// Starts the servers which the tests need, runs all tests and cleans up
    Test {
        /// Arguments for `cargo test`
        #[arg(last = true)]
        extra: Vec<String>,
    },
    /// Checks that crates depend on each other only as the architecture allows
    Layers,
    /// Checks licences, sources and banned crates with cargo-deny, which it installs if missing
    Licences,
    /// Measures the release binary against its limits
    #[command(subcommand)]
    Bench(Bench),
    /// Injects faults into running servers and checks the invariants
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Regenerates the dumps for tests of the symbolizer; installs compiler, emulator and debugger
    Fixtures {
        /// Architecture of the devices
        architecture: Architecture,
    },
    /// Downloads the ROM ELFs of Espressif's chips, for an upload to a server
    Roms(roms::Roms),
    /// Compares the stacks which the symbolizer finds with the true stacks
    VerifyUnwind(verify_unwind::VerifyUnwind),
    /// Fuzzes the readers of bundles, images, dumps, ELFs and indexes
    Fuzz(fuzz::Fuzz),
    /// Serves a constant answer, with which the benchmark compares the server
    #[command(hide = true)]
    BareServer(BareServer),
    /// Finishes parse jobs without an engine, for the benchmark of the queue
    #[command(hide = true)]
    BenchReplica(Replica),
    /// Runs `rustc` for cargo and records its time and memory, for the benchmark of builds
    #[command(hide = true)]
    RecordRustc(RecordRustc),
    /// Serves S3 from a directory, for the tests
    #[command(hide = true)]
    S3Server(s3_server::S3Server),
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Ci => ci::run(),
            Self::Test { extra } => {
                println!("\n{}", test_run::run(&extra)?);
                Ok(())
            }
            Self::Layers => layers::check(),
            Self::Licences => licences::check(),
            Self::Bench(bench) => bench.run(),
            Self::Drill(drill) => drill.run(),
            Self::Fixtures { architecture } => architecture.commit(),
            Self::Roms(roms) => roms.run(),
            Self::VerifyUnwind(verify) => verify.run(),
            Self::Fuzz(fuzz) => fuzz.run(),
            Self::BareServer(server) => server.run(),
            Self::BenchReplica(replica) => replica.run(),
            Self::RecordRustc(rustc) => rustc.run(),
            Self::S3Server(server) => server.run(),
        }
    }
}
