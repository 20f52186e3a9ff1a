//! The repository ports on a real `SQLite` file or a real `PostgreSQL` server. The suites use a
//! [`Bench`] only, so that they run on either database.

#![expect(clippy::unwrap_used, reason = "a failure of a helper fails its test")]

mod coredumps;
mod devices;
mod faults;
mod firmware;
mod identity;
mod intake;
mod models;
mod replicas;
mod rom_elfs;
mod start;
mod support;
mod symbolication;
mod upkeep;
