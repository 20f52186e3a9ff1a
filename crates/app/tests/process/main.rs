//! Tests of the built binary, as an operator uses it. One file per subject; `support` starts and
//! stops processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

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
