//! The rules of Coredock: types, ports and use cases.
//!
//! Nothing here depends on SQL, HTTP, S3 or an async runtime. Everything outside is behind a port
//! ([`ArtifactStore`], the repositories, [`Clock`], [`Entropy`]). The features ([`DeviceModels`],
//! [`Devices`], [`Firmware`], [`RomElfs`], [`Coredumps`], [`Intake`], [`Symbolication`],
//! [`SymbolIndexes`], [`Upkeep`]) are plain structs over ports, built once at start.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod artifacts;
pub mod audit;
pub mod chip;
pub mod clock;
pub mod coredumps;
pub mod devices;
pub mod digest;
pub mod error;
pub mod fields;
pub mod firmware;
pub mod identity;
pub mod ids;
pub mod intake;
pub mod models;
pub mod rom_elfs;
pub mod symbolication;
pub mod timestamp;
pub mod upkeep;
pub mod wakeup;

pub use artifacts::store::ArtifactStore;
pub use clock::{Clock, Entropy};
pub use coredumps::Coredumps;
pub use devices::Devices;
pub use firmware::Firmware;
pub use identity::verifier::TokenVerifier;
pub use intake::Intake;
pub use models::DeviceModels;
pub use rom_elfs::RomElfs;
pub use symbolication::Symbolication;
pub use symbolication::indexes::SymbolIndexes;
pub use symbolication::symbolizer::Symbolizer;
pub use upkeep::Upkeep;
