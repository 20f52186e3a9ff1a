//! Chores of this repository: `cargo xtask --help` lists them.

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
mod sidecar_stub;
mod small_fs;
mod test_run;
mod verify_unwind;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use coredock_bench::{BareServer, Bench, RecordRustc, Replica};
use coredock_drill::DrillCommand;
use coredock_testkit::fixtures::Architecture;

/// Chores of the Coredock repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs what CI runs: format, lints, documentation, layers, licences, tests
    Ci,
    /// Sets up what the tests need, runs all of them and cleans up
    Test {
        /// Passed on to `cargo test`
        #[arg(last = true)]
        extra: Vec<String>,
    },
    /// Fails on a dependency between crates that the architecture does not have
    Layers,
    /// Checks licences, sources and banned crates with cargo-deny, which it installs if missing
    Licences,
    /// Measures the release binary against its limits
    #[command(subcommand)]
    Bench(Bench),
    /// Breaks the real server on purpose and looks at what is left
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Makes the dumps for tests of symbolizing anew; installs compiler, emulator and debugger
    Fixtures {
        /// Of the devices
        architecture: Architecture,
    },
    /// Fetches the ROM ELFs of Espressif's chips, to be uploaded to a server
    Roms(roms::Roms),
    /// Compares stacks that the symbolizer finds with those that a debugger finds
    VerifyUnwind(verify_unwind::VerifyUnwind),
    /// Fuzzes what reads bundles, images, dumps, ELFs and indexes
    Fuzz(fuzz::Fuzz),
    /// Plays the symbolizer sidecar: tells the sizes of what it was given
    SidecarStub(sidecar_stub::SidecarStub),
    /// Serves one constant answer: what the benchmark compares with
    #[command(hide = true)]
    BareServer(BareServer),
    /// Works on parse jobs without an engine: what the benchmark of the queue starts
    #[command(hide = true)]
    BenchReplica(Replica),
    /// Runs `rustc` for cargo and records what it took: what the benchmark of builds starts
    #[command(hide = true)]
    RecordRustc(RecordRustc),
    /// Serves S3 from a directory: what the tests store in
    #[command(hide = true)]
    S3Server(s3_server::S3Server),
}

fn main() -> ExitCode {
    match Arguments::parse().chore.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Chore {
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
            Self::SidecarStub(stub) => stub.run(),
            Self::BareServer(server) => server.run(),
            Self::BenchReplica(replica) => replica.run(),
            Self::RecordRustc(rustc) => rustc.run(),
            Self::S3Server(server) => server.run(),
        }
    }
}
