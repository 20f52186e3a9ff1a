use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compress, Compression, FlushCompress};

use super::low16;

const ENCRYPTED: u16 = 1;
const DESCRIPTOR: u16 = 1 << 3;
const IN_ZIP64: u32 = u32::MAX;
/// 1980-01-01T00:00:00 as date and time of MS-DOS.
const WRITTEN: u32 = 0x0021_0000;

/// An entry, deflated unless changed.
#[derive(Debug, Clone)]
pub struct ZipEntry {
    name: Vec<u8>,
    content: Vec<u8>,
    /// The bytes in the archive, if they are not the content compressed by `method`.
    raw: Option<Vec<u8>>,
    method: u16,
    flags: u16,
    crc32: u32,
    size: u64,
    pub(super) zip64: bool,
}

impl ZipEntry {
    /// `name` may be any bytes.
    pub fn new(name: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        Self {
            name: name.as_ref().to_vec(),
            raw: None,
            method: 8,
            flags: 0,
            crc32: crc32fast::hash(&content),
            size: content.len() as u64,
            zip64: false,
            content,
        }
    }

    /// Claims 10 bytes and inflates to `inflated` zeros, rounded up to whole MiB, at about 1000 :
    /// 1. Its CRC-32 does not match.
    pub fn bomb(name: &str, inflated: u64) -> Self {
        let raw = Some(deflated_zeros(inflated.div_ceil(1 << 20)));
        Self { raw, size: 10, ..Self::new(name, []) }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Stores the content without compression.
    #[must_use]
    pub fn stored(self) -> Self {
        Self { method: 0, ..self }
    }

    /// Claims this compression method; the bytes are deflated unless it is 0.
    #[must_use]
    pub fn method(self, method: u16) -> Self {
        Self { method, ..self }
    }

    /// Claims this CRC-32.
    #[must_use]
    pub fn crc32(self, crc32: u32) -> Self {
        Self { crc32, ..self }
    }

    /// Claims this length of the content.
    #[must_use]
    pub fn claimed_size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// Claims to be encrypted.
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { flags: self.flags | ENCRYPTED, ..self }
    }

    /// Writes CRC-32 and sizes after the bytes instead of before them.
    #[must_use]
    pub fn data_descriptor(self) -> Self {
        Self { flags: self.flags | DESCRIPTOR, ..self }
    }

    /// Writes sizes and offset in ZIP64 extra fields.
    #[must_use]
    pub fn zip64(self) -> Self {
        Self { zip64: true, ..self }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match (&self.raw, self.method) {
            (Some(raw), _) => raw.clone(),
            (None, 0) => self.content.clone(),
            (None, _) => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&self.content).expect("writing to memory cannot fail");
                encoder.finish().expect("writing to memory cannot fail")
            }
        }
    }

    /// The fields which local and central header have in common.
    fn common(&self, crc32: u32, sizes: [u64; 2], extra: usize) -> Vec<u8> {
        let version: u16 = if self.zip64 { 45 } else { 20 };
        let mut header = Vec::new();
        header.extend(version.to_le_bytes());
        header.extend(self.flags.to_le_bytes());
        header.extend(self.method.to_le_bytes());
        header.extend(WRITTEN.to_le_bytes());
        header.extend(crc32.to_le_bytes());
        for size in sizes {
            let size = if self.zip64 { IN_ZIP64 } else { low32(size) };
            header.extend(size.to_le_bytes());
        }
        header.extend(low16(self.name.len()).to_le_bytes());
        header.extend(low16(extra).to_le_bytes());
        header
    }

    pub(super) fn write_local(&self, archive: &mut Vec<u8>, bytes: &[u8]) {
        let sizes = [bytes.len() as u64, self.size];
        let has_descriptor = self.flags & DESCRIPTOR != 0;
        let (crc32, before) = if has_descriptor { (0, [0; 2]) } else { (self.crc32, sizes) };
        let extra = self.extra(&[before[1], before[0]]);
        archive.extend(b"PK\x03\x04");
        archive.extend(self.common(crc32, before, extra.len()));
        archive.extend(&self.name);
        archive.extend(extra);
        archive.extend(bytes);
        if has_descriptor {
            archive.extend(b"PK\x07\x08");
            archive.extend(self.crc32.to_le_bytes());
            for size in sizes {
                let width = if self.zip64 { 8 } else { 4 };
                archive.extend(&size.to_le_bytes()[..width]);
            }
        }
    }

    pub(super) fn write_central(&self, directory: &mut Vec<u8>, compressed: usize, offset: usize) {
        let offset = offset as u64;
        let extra = self.extra(&[self.size, compressed as u64, offset]);
        directory.extend(b"PK\x01\x02\x2d\x00");
        directory.extend(self.common(self.crc32, [compressed as u64, self.size], extra.len()));
        // No comment, disk 0, no attributes.
        directory.extend([0; 10]);
        let offset = if self.zip64 { IN_ZIP64 } else { low32(offset) };
        directory.extend(offset.to_le_bytes());
        directory.extend(&self.name);
        directory.extend(extra);
    }

    fn extra(&self, values: &[u64]) -> Vec<u8> {
        if !self.zip64 {
            return Vec::new();
        }
        let mut extra = vec![1, 0];
        extra.extend(low16(values.len() * 8).to_le_bytes());
        extra.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        extra
    }
}

fn low32(value: u64) -> u32 {
    u32::try_from(value).expect("sizes of 4 GiB need ZIP64")
}

/// `mebibytes` MiB of zeros: one deflated MiB, flushed to a byte boundary, which is repeated.
fn deflated_zeros(mebibytes: u64) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(8 << 10);
    compress
        .compress_vec(&vec![0; 1 << 20], &mut block, FlushCompress::Full)
        .expect("zeros can be compressed");
    let repetitions = usize::try_from(mebibytes).expect("a bomb fits into memory");
    let mut zeros = block.repeat(repetitions);
    // An empty last block ends the stream.
    zeros.extend([0x03, 0x00]);
    zeros
}
