//! Crash reports from a service beside Coredock: [`coredock_domain::Symbolizer`] over HTTP and a
//! shared directory (contract §6.11).
//!
//! For every attempt [`SidecarSymbolizer`] writes the dump and its ELF to the directory, names them
//! to the service in one `GET /parse-coredump`, and removes them, whatever the result is.
//! [`SidecarSymbolizer::clean_leftovers`] removes the files of processes that were killed.

mod answer;
mod endpoint;
mod excerpt;
mod job_files;
mod leftovers;
mod names;
mod symbolizer;

pub use endpoint::SidecarSetupError;
pub use symbolizer::{SidecarOptions, SidecarSymbolizer};
