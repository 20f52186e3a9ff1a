//! Firmware: publication of bundles, versions and their downloads (contract §5).

pub mod archive;
pub mod bundle;
pub mod facts;
pub mod image;
pub mod image_cache;
pub mod publication;
pub mod publish;
pub mod repository;
pub mod upload_lease;
pub mod version_json;
pub mod versions;

pub use bundle::{BundleError, BundleRules, FirmwareBundle, ImageGate};
pub use facts::{FirmwareFacts, FirmwareVersion};
pub use versions::{Firmware, FirmwarePorts, FirmwareSettings};
