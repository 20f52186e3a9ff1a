//! For tests only: suites every implementation of a port must pass, wrappers that inject faults,
//! a clock and randomness that tests own, and builders of firmware.
//!
//! Sees nothing of ours but `coredock-domain`.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops with a message")]

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

/// Set to run the tests that work on either on `PostgreSQL` and S3 instead of the embedded backends.
pub const PRODUCTION_BACKENDS: &str = "COREDOCK_TEST_PRODUCTION_BACKENDS";

/// Whether tests that work on either are to use `PostgreSQL` and S3.
pub fn production_backends() -> bool {
    std::env::var_os(PRODUCTION_BACKENDS).is_some()
}

/// What `cargo xtask test` tells the tests of the servers it started; panics where it did not.
#[expect(clippy::disallowed_methods, reason = "the tests are configured by those who start them")]
pub fn setting(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{variable} is not set: run `cargo xtask test`, which starts what tests need"),
    }
}
