//! Firmware bundles of any size.

use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry};

/// The code of the model to which all bundles belong.
pub(super) const MODEL: &str = "demo";

/// A bundle whose ELF is noise.
pub(super) struct Bundle<'a> {
    pub(super) version: &'a str,
    /// Bytes of the ELF, whose content depends on the version.
    pub(super) elf: usize,
    /// Bytes of the image.
    pub(super) image: usize,
}

impl Bundle<'_> {
    /// The ZIP archive, without compression.
    pub(super) fn build(&self) -> Vec<u8> {
        bundle_of(self.version, noise(self.version, self.elf), self.image)
    }
}

/// The ZIP archive with `elf` and an image of `image_bytes`, without compression.
pub(super) fn bundle_of(version: &str, elf: Vec<u8>, image_bytes: usize) -> Vec<u8> {
    let image = ImageBuilder::new(version, image_bytes).of_elf(&elf).build();
    let bundle = BundleBuilder::new(MODEL, version).bin(image).elf(elf);
    bundle.change_all(ZipEntry::stored).build()
}

/// `length` pseudo-random bytes (xorshift) which begin with the magic number of an ELF.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    bytes.extend(b"\x7fELF");
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
