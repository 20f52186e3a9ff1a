//! Artifacts: keys, bodies, the port to the store, and verified reads.

pub mod body;
pub mod key;
pub mod spooled_file;
pub mod store;
pub mod verified_reads;
