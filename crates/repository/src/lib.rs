//! The repositories of Coredock over diesel: one adapter, [`Database`], implements every port.
//!
//! Each query is written once and expanded for every backend. What differs between them (how a
//! write begins, locks, JSON functions, how times lie in columns) is in one file per backend.

mod artifacts;
mod audit;
mod columns;
mod connection;
mod coredumps;
mod database;
mod devices;
mod failure;
mod firmware;
mod intake;
mod locks;
mod migrations;
mod models;
#[cfg(test)]
mod plans;
mod postgres;
mod prepared;
mod rom_elfs;
mod schema;
mod sqlite;
mod start;
mod statement;
mod symbolication;
mod transaction;
mod upkeep;
mod values;

pub use database::{ConnectionCounts, Database, FailureCounts, SqliteOptions};
pub use postgres::{PostgresOptions, PostgresUrl};
pub use start::{SchemaStatus, StartError};
