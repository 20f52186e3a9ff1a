//! Coredock, the application: configuration, wiring, the HTTP surface, workers, the command line.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod adapters;
pub mod backends;
pub mod cli;
pub mod config;
pub mod database_clock;
pub mod health;
pub mod http;
pub mod lock;
pub mod logging;
pub mod metered_store;
pub mod metrics;
pub mod rescue_directory;
pub mod server;
pub mod shutdown;
pub mod system;
pub mod wiring;
pub mod workers;
