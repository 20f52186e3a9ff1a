//! Builders of firmware (contract §5.1, §5.4, §19): images, and valid and invalid bundles.

mod bundle;
mod image;
mod zip;

pub use bundle::BundleBuilder;
pub use image::ImageBuilder;
pub use zip::{ZipBuilder, ZipEntry};

/// `ELF0` of contract §19: 104 bytes.
pub fn elf0() -> Vec<u8> {
    let mut elf = vec![0; 104];
    elf[..4].copy_from_slice(b"\x7fELF");
    elf
}

/// `IMG(version, length)` of contract §19.
pub fn image(version: &str, length: usize) -> Vec<u8> {
    ImageBuilder::new(version, length).build()
}

/// An image of `version` that passes `FIRMWARE_IMAGE_GATE=full`.
pub fn full_image(version: &str, length: usize) -> Vec<u8> {
    ImageBuilder::new(version, length).build_full()
}

/// `ZIP(version)` of contract §19: the bundle of model `demo`.
pub fn bundle(version: &str) -> Vec<u8> {
    BundleBuilder::new("demo", version).build()
}
