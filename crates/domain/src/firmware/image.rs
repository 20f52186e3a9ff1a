//! Application images of ESP-IDF (contract §5.4).
//!
//! The layout is Espressif's "App Image Format" (`esp_image_format.h`, `esp_app_desc.h`): a header
//! of 24 bytes, then segments of an 8-byte header and data, then padding, a checksum byte at the
//! end of a 16-byte block, then, if header byte 23 is 1, a SHA-256 of everything before it. The
//! application descriptor is the start of the first segment's data, hence at offset 32.

use std::io::{self, Read};

use crate::chip::KnownChip;
use crate::digest::{RunningSha256, Sha256Digest};

/// The length of header, first segment header and descriptor, which every image has.
pub const MIN_IMAGE_BYTES: usize = HEADER_BYTES + SEGMENT_HEADER_BYTES + 256;

const HEADER_BYTES: usize = 24;
const SEGMENT_HEADER_BYTES: usize = 8;
const IMAGE_MAGIC: u8 = 0xE9;
const DESCRIPTOR_MAGIC: u32 = 0xABCD_5432;
/// `ESP_IMAGE_MAX_SEGMENTS` of ESP-IDF.
const MAX_SEGMENTS: u8 = 16;
/// `ESP_ROM_CHECKSUM_INITIAL` of ESP-IDF.
const CHECKSUM_SEED: u8 = 0xEF;

/// Why an image is refused. What is expected in checksum and hash is computed over the image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("expected a firmware image of at least {MIN_IMAGE_BYTES} bytes, found {actual} bytes")]
    TooShort { actual: u64 },
    #[error("expected a firmware image that starts with byte 0xE9, found 0x{actual:02X}")]
    Magic { actual: u8 },
    #[error(
        "expected an application descriptor with magic 0xABCD5432 at offset 32 of the firmware \
         image, found 0x{actual:08X}"
    )]
    DescriptorMagic { actual: u32 },
    #[error("firmware image is damaged: {0}")]
    Damaged(&'static str),
    #[error("expected a firmware image with 1 to {MAX_SEGMENTS} segments, found {actual}")]
    Segments { actual: u8 },
    #[error("expected checksum 0x{expected:02X} in the firmware image, found 0x{actual:02X}")]
    Checksum { expected: u8, actual: u8 },
    #[error("expected SHA-256 {expected} at the end of the firmware image, found {actual}")]
    Hash { expected: Sha256Digest, actual: Sha256Digest },
    #[error("firmware image could not be read")]
    Io(#[from] io::Error),
}

/// The fields in the first 288 bytes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHead {
    /// The bytes of the version text up to the first NUL.
    pub version: Vec<u8>,
    /// Name of the chip, or its id as four hex digits.
    pub chip: String,
    pub project_name: String,
    /// The version of ESP-IDF with which it was built.
    pub idf_version: String,
    /// Anti-rollback counter.
    pub secure_version: u32,
    /// SHA-256 of the ELF from which it was built; `None` when the build did not write it.
    pub elf_sha256: Option<Sha256Digest>,
}

impl ImageHead {
    /// Reads the head of an image of `length` bytes from its first bytes (at least
    /// [`MIN_IMAGE_BYTES`], if the image has that many). Without `strict_magic` the first byte is
    /// not checked.
    pub fn parse(start: &[u8], length: u64, strict_magic: bool) -> Result<Self, ImageError> {
        let Some((head, _)) = start.split_first_chunk::<MIN_IMAGE_BYTES>() else {
            return Err(ImageError::TooShort { actual: length });
        };
        if strict_magic && head[0] != IMAGE_MAGIC {
            return Err(ImageError::Magic { actual: head[0] });
        }
        let magic = u32_at(head, 32);
        if magic != DESCRIPTOR_MAGIC {
            return Err(ImageError::DescriptorMagic { actual: magic });
        }
        let mut elf_sha256 = [0; 32];
        elf_sha256.copy_from_slice(&head[176..208]);
        Ok(Self {
            version: until_nul(&head[48..80]).to_vec(),
            chip: chip_name(u16::from_le_bytes([head[12], head[13]])),
            project_name: text(&head[80..112]),
            idf_version: text(&head[144..176]),
            secure_version: u32_at(head, 36),
            elf_sha256: (elf_sha256 != [0; 32]).then(|| elf_sha256.into()),
        })
    }
}

fn u32_at(bytes: &[u8; MIN_IMAGE_BYTES], offset: usize) -> u32 {
    u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Bytes that are not UTF-8 become U+FFFD; control characters too, because people read the text.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(until_nul(field))
        .replace(char::is_control, &char::REPLACEMENT_CHARACTER.to_string())
}

fn chip_name(id: u16) -> String {
    KnownChip::of_id(id).map_or_else(|| format!("0x{id:04x}"), |chip| chip.name().to_owned())
}

/// Checks segment table, checksum and appended hash of a whole image (contract §5.3#15). Bytes
/// behind them, for instance a signature, are allowed.
pub fn check_integrity(image: impl Read) -> Result<(), ImageError> {
    let mut reader = HashingReader { inner: image, hash: RunningSha256::default() };
    let header: [u8; HEADER_BYTES] = reader.read_array("it ends in its header")?;
    let segments = header[1];
    if segments == 0 || segments > MAX_SEGMENTS {
        return Err(ImageError::Segments { actual: segments });
    }
    let mut length = HEADER_BYTES as u64;
    let mut checksum = CHECKSUM_SEED;
    for _ in 0..segments {
        let segment: [u8; SEGMENT_HEADER_BYTES] =
            reader.read_array("it ends in a segment header")?;
        let data = u32::from_le_bytes([segment[4], segment[5], segment[6], segment[7]]);
        checksum ^= reader.xor_of(u64::from(data))?;
        length += SEGMENT_HEADER_BYTES as u64 + u64::from(data);
    }
    for _ in 0..15 - length % 16 {
        let _: [u8; 1] = reader.read_array("it ends before its checksum")?;
    }
    let [actual]: [u8; 1] = reader.read_array("it ends before its checksum")?;
    if actual != checksum {
        return Err(ImageError::Checksum { expected: checksum, actual });
    }
    if header[23] == 1 { reader.check_appended_hash() } else { Ok(()) }
}

struct HashingReader<R> {
    inner: R,
    hash: RunningSha256,
}

impl<R: Read> HashingReader<R> {
    fn read_array<const N: usize>(&mut self, damage: &'static str) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, damage)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], damage: &'static str) -> Result<(), ImageError> {
        match self.inner.read_exact(bytes) {
            Ok(()) => {
                self.hash.update(bytes);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ImageError::Damaged(damage))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn xor_of(&mut self, mut length: u64) -> Result<u8, ImageError> {
        let mut buffer = [0; 8192];
        let mut xor = 0;
        while length > 0 {
            let size = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            let piece = &mut buffer[..size];
            self.fill(piece, "a segment reaches beyond its end")?;
            xor = piece.iter().fold(xor, |xor, byte| xor ^ byte);
            length -= size as u64;
        }
        Ok(xor)
    }

    fn check_appended_hash(mut self) -> Result<(), ImageError> {
        let (_, expected) = self.hash.clone().finish();
        let actual: [u8; 32] = self.read_array("it ends in its appended hash")?;
        let actual = Sha256Digest::from(actual);
        if actual == expected { Ok(()) } else { Err(ImageError::Hash { expected, actual }) }
    }
}
