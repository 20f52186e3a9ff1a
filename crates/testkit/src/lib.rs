//! For tests and development tools only: suites which every implementation of a port must pass,
//! wrappers that inject faults, a clock and randomness which tests control, and builders of
//! firmware.
//!
//! Of the crates of Coredock it depends on `coredock-domain` only.

#![expect(clippy::expect_used, reason = "a test which cannot continue ends with a message")]

pub mod chromium;
pub mod client;
pub mod clock;
pub mod contract;
pub mod coredumps;
#[cfg(feature = "database")]
pub mod database;
pub mod entropy;
pub mod faulty_store;
pub mod files;
pub mod firmware;
pub mod fixtures;
pub mod gate;
#[cfg(feature = "database")]
pub mod invariants;
pub mod memory_store;
pub mod oidc;
pub mod postgres;
pub mod process;
pub mod program;
pub mod s3;
pub mod s3_proxy;
pub mod server;
pub mod services;
pub mod sidecar;
pub mod snapshot;
pub mod tcp_proxy;

/// If this variable is set, tests which support both kinds of backends run on PostgreSQL and S3
/// instead of the embedded backends.
pub const PRODUCTION_BACKENDS: &str = "COREDOCK_TEST_PRODUCTION_BACKENDS";

/// Whether tests which support both kinds of backends are to use PostgreSQL and S3.
pub fn production_backends() -> bool {
    std::env::var_os(PRODUCTION_BACKENDS).is_some()
}

/// The value of a variable by which `cargo xtask test` configures the tests; panics if it is not
/// set.
#[expect(clippy::disallowed_methods, reason = "the command which starts the tests configures them")]
pub fn setting(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{variable} is not set: run `cargo xtask test`, which starts what tests need"),
    }
}
