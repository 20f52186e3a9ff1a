//! The repository ports on a real `SQLite` file. The suites see a [`Bench`] only, so that another
//! database can be put under them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

mod coredump_recording;
mod coredumps;
mod crash_groups;
mod devices;
mod dump_retention;
mod faults;
mod firmware;
mod late_symbols;
mod models;
mod outbox;
mod parse_jobs;
mod parse_results;
mod publication;
mod replicas;
mod retention;
mod rom_elfs;
mod start;
mod start_postgres;
mod support;
mod sweep;
mod symbol_indexes;
