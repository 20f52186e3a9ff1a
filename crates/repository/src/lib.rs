//! The repositories of Coredock over diesel: one adapter, [`Database`], implements every port.
//!
//! Each query is written once and expanded for every backend by `connection::on!`. The backends
//! differ in how a write begins (`sqlite`, `postgres`), in locks (`locks`), in a few JSON functions
//! and statements, which match on the connection, and in how times are stored (`timestamps`).

mod artifacts;
mod audit;
mod columns;
mod connection;
mod coredumps;
mod database;
mod devices;
mod failure;
mod firmware;
mod identity;
mod intake;
mod locks;
mod migrations;
mod models;
mod postgres;
mod prepared;
#[cfg(test)]
mod query_plans;
mod rom_elfs;
mod schema;
mod sqlite;
mod start_error;
mod statement;
mod symbolication;
mod timestamps;
mod transaction;
mod upkeep;

pub use database::{ConnectionCounts, Database, FailureCounts, SqliteOptions};
pub use migrations::SchemaStatus;
pub use postgres::{PostgresOptions, PostgresUrl};
pub use start_error::StartError;
