//! The command line (contract §14.5). Exit status: 0 done, 1 failure, 2 wrong usage or
//! configuration.

mod build_index;
mod db_status;
mod decode;
mod serve;
mod sweep;
mod upgrade_db;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use coredock_symbolizer_native::child::BUILD_INDEX;

use crate::backends::OpenError;
use crate::config::{Config, Overrides};
use crate::http::openapi;
use crate::logging;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const MISUSED: u8 = 2;

/// Firmware delivery for ESP32 fleets.
#[derive(Parser)]
#[command(name = "coredock", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Configured(ConfiguredCommand),
    /// Turn a coredump into a crash report, without a server
    Decode(decode::Decode),
    /// Build the index of an ELF, from standard input to standard output
    #[command(name = BUILD_INDEX, hide = true)]
    BuildIndex,
}

#[derive(Subcommand)]
enum ConfiguredCommand {
    /// Run the server
    Serve {
        /// Address and port to listen on, for instance 127.0.0.1:3101
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Run in testing mode, like `COREDOCK_ENV=testing`
        #[arg(long)]
        testing: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Apply pending database migrations
    UpgradeDb {
        #[command(flatten)]
        place: Place,
    },
    /// Show which database migrations are applied and which are pending
    DbStatus {
        #[command(flatten)]
        place: Place,
    },
    /// Print the `OpenAPI` document, as served under /api/docs/openapi.json
    #[command(hide = true)]
    Openapi,
    /// Remove stored objects which no row refers to
    Sweep {
        /// Report garbage without removing it
        #[arg(long, conflicts_with = "confirm")]
        dry_run: bool,
        /// Adopt a store of another installation, or remove more garbage than is plausible
        #[arg(long)]
        confirm: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
struct Place {
    /// Directory of database and artifacts
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn overrides(self) -> Overrides {
        Overrides { file: self.config, data_dir: self.data, ..Overrides::default() }
    }
}

pub fn run() -> ExitCode {
    let command = match Cli::parse().command {
        // These need neither configuration nor runtime.
        Command::Decode(arguments) => return ExitCode::from(decode::run(&arguments)),
        Command::BuildIndex => return ExitCode::from(build_index::run()),
        Command::Configured(command) => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(dispatch(command));
            // A thread that hangs on a dead disk must not keep the process alive.
            runtime.shutdown_background();
            ExitCode::from(status)
        }
        Err(error) => ExitCode::from(fail(&error, FAILED)),
    }
}

async fn dispatch(command: ConfiguredCommand) -> u8 {
    let (overrides, command) = overrides_of(command);
    let config = match Config::load(&overrides) {
        Ok(config) => config,
        Err(error) => return fail(&error, MISUSED),
    };
    match command {
        Chosen::Serve => serve::run(&config).await,
        Chosen::UpgradeDb => upgrade_db::run(&config).await,
        Chosen::DbStatus => db_status::run(&config).await,
        Chosen::Openapi => print_openapi(),
        Chosen::Sweep(mode) => sweep::run(&config, mode).await,
    }
}

enum Chosen {
    Serve,
    UpgradeDb,
    DbStatus,
    Openapi,
    Sweep(coredock_domain::upkeep::sweep::SweepMode),
}

fn overrides_of(command: ConfiguredCommand) -> (Overrides, Chosen) {
    use coredock_domain::upkeep::sweep::SweepMode;
    match command {
        ConfiguredCommand::Serve { listen, testing, place } => {
            (Overrides { listen, testing, ..place.overrides() }, Chosen::Serve)
        }
        ConfiguredCommand::UpgradeDb { place } => (place.overrides(), Chosen::UpgradeDb),
        ConfiguredCommand::DbStatus { place } => (place.overrides(), Chosen::DbStatus),
        ConfiguredCommand::Openapi => (Overrides::default(), Chosen::Openapi),
        ConfiguredCommand::Sweep { dry_run, confirm, place } => {
            let mode = match (dry_run, confirm) {
                (true, _) => SweepMode::DryRun,
                (false, true) => SweepMode::Confirmed,
                (false, false) => SweepMode::Run,
            };
            (place.overrides(), Chosen::Sweep(mode))
        }
    }
}

/// The exit status of a command which could not open its adapters: an outage is not misuse.
fn status_of(error: &OpenError) -> u8 {
    if error.is_outage() { FAILED } else { MISUSED }
}

fn print_openapi() -> u8 {
    match openapi::document() {
        Ok(document) => {
            say(document);
            DONE
        }
        Err(error) => fail(&error, FAILED),
    }
}

fn fail(error: &(dyn std::error::Error + 'static), status: u8) -> u8 {
    print_error(error);
    status
}

/// Prints an error and its causes to standard error.
#[expect(clippy::print_stderr, reason = "this is the command line")]
fn print_error(error: &(dyn std::error::Error + 'static)) {
    eprintln!("coredock: {}", logging::chain(error));
}

#[expect(clippy::print_stdout, reason = "this is the command line")]
fn say(text: impl std::fmt::Display) {
    println!("{text}");
}
