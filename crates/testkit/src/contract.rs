//! Suites which every implementation of a port must pass.

pub mod artifact_store;
