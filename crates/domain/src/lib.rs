//! The rules of Coredock: types, ports and use cases.
//!
//! Nothing here knows SQL, HTTP, S3 or an async runtime. Outsiders stand behind ports
//! ([`ArtifactStore`], the repositories, [`Clock`], [`Entropy`]); the features ([`DeviceModels`],
//! [`Devices`], [`Firmware`], [`RomElfs`], [`SymbolIndexes`], [`Coredumps`], [`Upkeep`]) are plain
//! structs over them, built once at start.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod artifact;
pub mod artifact_store;
pub mod audit;
pub mod blocking;
pub mod chip;
pub mod clock;
pub mod coredump;
pub mod coredumps;
pub mod device;
pub mod device_config;
pub mod devices;
pub mod digest;
pub mod fields;
pub mod firmware;
mod held_elf;
pub mod model;
pub mod models;
pub mod repository;
pub mod rom_elf;
pub mod rom_elfs;
pub mod spool;
pub mod sweep;
pub mod symbol_indexes;
pub mod symbolizer;
pub mod timestamp;
pub mod upkeep;
pub mod upload_lease;
pub mod verified_reads;

pub use artifact_store::ArtifactStore;
pub use clock::{Clock, Entropy};
pub use coredumps::Coredumps;
pub use devices::Devices;
pub use firmware::Firmware;
pub use models::DeviceModels;
pub use rom_elfs::RomElfs;
pub use symbol_indexes::SymbolIndexes;
pub use symbolizer::Symbolizer;
pub use upkeep::Upkeep;
