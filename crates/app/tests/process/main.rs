//! Tests of the built binary: what an operator sees of it. One file per subject; `support` starts
//! and ends processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod configuration;
mod crash;
mod data;
mod decoding;
mod disk_full;
mod durability;
mod indexing;
mod logs;
mod parsing;
mod rescue;
mod servers;
mod shutdown;
mod start;
mod support;
mod sweep;
