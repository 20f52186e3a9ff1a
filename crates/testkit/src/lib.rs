//! For tests only: suites every implementation of a port must pass, wrappers that inject faults,
//! a clock and randomness that tests own, and builders of firmware.
//!
//! Sees nothing of ours but `coredock-domain`.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops with a message")]

pub mod clock;
pub mod contract;
pub mod coredumps;
pub mod entropy;
pub mod faulty_store;
pub mod firmware;
pub mod gate;
pub mod s3;
pub mod s3_proxy;
pub mod sidecar;
