//! Tests of the whole server over HTTP. A feature has a file, and a folder if it needs several.
//! Rules for all features have separate files. `support` has one verb per action.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod audit;
mod bad_input;
mod coredumps;
mod database_faults;
mod device_safety;
mod devices;
mod firmware;
mod identity;
mod intake;
mod invariants;
mod models;
mod openapi;
mod operation;
mod replicas;
mod rom_elfs;
mod routing;
mod support;
mod symbolication;
mod testing;
mod transfers;
mod upkeep;
mod vectors;
