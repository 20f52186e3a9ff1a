//! What every implementation of a port must do.

pub mod artifact_store;
