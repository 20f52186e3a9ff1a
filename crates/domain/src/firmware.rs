//! Firmware: bundles in, images out (contract §5).

pub mod facts;
pub mod version;

pub use facts::{ArtifactFacts, FirmwareFacts, FirmwareVersion};
pub use version::VersionText;
