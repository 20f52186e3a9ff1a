//! The repository ports on a real `SQLite` file. The suites see a [`Bench`] only, so that another
//! database can be put under them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

mod coredumps;
mod devices;
mod faults;
mod firmware;
mod intake;
mod models;
mod replicas;
mod rom_elfs;
mod start;
mod support;
mod symbolication;
mod upkeep;
