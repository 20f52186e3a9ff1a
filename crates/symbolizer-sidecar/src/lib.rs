//! Reports made by a service beside Coredock: [`coredock_domain::Symbolizer`] over HTTP and a
//! shared directory (contract §6.11).
//!
//! For every attempt [`SidecarSymbolizer`] puts the dump and its ELF into the directory, names them
//! to the service in one `GET /parse-coredump`, and removes them, however the attempt ends. What a
//! process that died could not remove is found by [`SidecarSymbolizer::clean_leftovers`].

mod answer;
mod endpoint;
mod excerpt;
mod job_files;
mod leftovers;
mod names;
mod symbolizer;

pub use endpoint::SidecarSetupError;
pub use symbolizer::{SidecarOptions, SidecarSymbolizer};
