//! Stored objects: their names, the port to where they are kept, and reads that check them.

pub mod body;
pub mod key;
pub mod spooled_file;
pub mod store;
pub mod verified_reads;
