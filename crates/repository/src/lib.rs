//! The repositories of Coredock over diesel: one adapter, [`Database`], implements every port.
//!
//! Each query is written once and expanded for every backend. What differs between them (how a
//! write begins, locks, JSON functions, how times lie in columns) is in one file per backend.

mod audit;
mod builds;
mod connection;
mod coredumps;
mod crash_groups;
mod database;
mod deletes;
mod devices;
mod failure;
mod firmware;
mod late_symbols;
mod leases;
mod migrations;
mod models;
mod offers;
mod outbox;
mod parse_jobs;
#[cfg(test)]
mod plans;
mod postgres;
mod prepared;
mod publication;
mod references;
mod retention;
mod rom_elfs;
mod schema;
mod sqlite;
mod start;
mod sweep;
mod symbol_indexes;
mod values;
mod versions;
pub use database::{ConnectionCounts, Database, FailureCounts, SqliteOptions};
pub use postgres::{PostgresOptions, PostgresUrl};
pub use start::{SchemaStatus, StartError};
