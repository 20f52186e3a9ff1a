//! The binary `coredock`.

use std::process::ExitCode;

fn main() -> ExitCode {
    coredock::cli::run()
}
