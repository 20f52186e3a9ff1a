//! Reads ZIP archives from untrusted sources.
//!
//! A library would not do: a bundle is checked against its central directory exactly as it is
//! stored, so duplicate names, references to other disks and encrypted entries must stay visible.
//! The layout is that of PKWARE's APPNOTE 6.3.10 (§4.3.7 local header, §4.3.12 central header,
//! §4.3.14–16 end records, §4.5.3 ZIP64 extra field). The sizes which an archive states are only
//! compared with the bytes that were read.

mod directory;

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::read::DeflateDecoder;

use directory::{Fields, read_at, read_directory};

const LOCAL_BYTES: usize = 30;
/// Bit 0 encrypted, bit 6 strong encryption, bit 13 masked local header (APPNOTE §4.4.4).
const ENCRYPTION_FLAGS: u16 = 1 | 1 << 6 | 1 << 13;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("archive is damaged: {0}")]
    Damaged(&'static str),
    #[error("archive spans several disks")]
    MultiDisk,
    #[error("entry {0} is encrypted")]
    Encrypted(String),
    #[error("entry {name} must be stored or deflated, but has compression method {method}")]
    Method {
        name: String,
        /// Method number (APPNOTE §4.4.5).
        method: u16,
    },
    #[error("entry {name} is damaged: {damage}")]
    Entry { name: String, damage: &'static str },
    #[error("entry {name} has more than {limit} bytes")]
    EntryTooLarge { name: String, limit: u64 },
    #[error("entry {0} is compressed more than 200 : 1")]
    Ratio(String),
    /// Reading the archive or writing the output failed for reasons outside the archive.
    #[error("temporary file could not be read or written")]
    Io(#[source] io::Error),
}

/// How an entry is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflate,
}

/// One entry of the central directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes that are not UTF-8 are replaced by U+FFFD.
    pub name: String,
    raw_name: Vec<u8>,
    flags: u16,
    method: u16,
    crc32: u32,
    compressed: u64,
    uncompressed: u64,
    local_offset: u64,
}

/// How many bytes an entry may decompress to.
#[derive(Debug, Clone, Copy)]
pub struct OutputCaps {
    /// Maximum number of bytes.
    pub bytes: u64,
    /// The ratio is not checked up to this number of bytes.
    pub ratio_from: u64,
    /// Maximum ratio of decompressed to compressed bytes.
    pub ratio: u64,
}

/// An archive whose directory has been read.
pub struct Archive<R> {
    reader: R,
    directory_offset: u64,
    entries: Vec<Entry>,
}

impl<R: Read + Seek> Archive<R> {
    pub fn open(mut reader: R) -> Result<Self, ArchiveError> {
        let (directory_offset, entries) = read_directory(&mut reader)?;
        Ok(Self { reader, directory_offset, entries })
    }

    /// The entries in the order of the directory, duplicate names included.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Refuses encrypted entries and unknown methods.
    pub fn check_readable(&self) -> Result<(), ArchiveError> {
        for entry in &self.entries {
            if entry.flags & ENCRYPTION_FLAGS != 0 {
                return Err(ArchiveError::Encrypted(entry.name.clone()));
            }
            entry.known_method()?;
        }
        Ok(())
    }

    /// Writes the content of an entry to `output`, checking length and CRC-32; returns the number
    /// of bytes.
    pub fn extract(
        &mut self,
        entry: &Entry,
        caps: OutputCaps,
        output: &mut dyn Write,
    ) -> Result<u64, ArchiveError> {
        let start = self.data_offset(entry)?;
        let end = start.checked_add(entry.compressed);
        if end.is_none_or(|end| end > self.directory_offset) {
            return Err(entry.damage("it reaches into the central directory"));
        }
        self.reader.seek(SeekFrom::Start(start)).map_err(ArchiveError::Io)?;
        let data = (&mut self.reader).take(entry.compressed);
        match entry.known_method()? {
            Method::Stored => copy_checked(entry, data, caps, output),
            Method::Deflate => copy_checked(entry, DeflateDecoder::new(data), caps, output),
        }
    }

    /// The offset of the data behind the local header, which must agree with the directory.
    fn data_offset(&mut self, entry: &Entry) -> Result<u64, ArchiveError> {
        let outside = || entry.damage("its local header is outside the archive");
        let header_end = entry.local_offset.checked_add(LOCAL_BYTES as u64).ok_or_else(outside)?;
        if header_end > self.directory_offset {
            return Err(outside());
        }
        let header = read_at(&mut self.reader, entry.local_offset, LOCAL_BYTES as u64)?;
        let fields = Fields(&header);
        if fields.u32(0) != Some(0x0403_4B50) {
            return Err(entry.damage("it has no local header"));
        }
        let (Some(flags), Some(method), Some(name_bytes), Some(extra_bytes)) =
            (fields.u16(6), fields.u16(8), fields.u16(26), fields.u16(28))
        else {
            return Err(outside());
        };
        let name = read_at(&mut self.reader, header_end, u64::from(name_bytes))?;
        if name != entry.raw_name || method != entry.method || flags & ENCRYPTION_FLAGS != 0 {
            return Err(entry.damage("its local header contradicts the central directory"));
        }
        Ok(header_end + u64::from(name_bytes) + u64::from(extra_bytes))
    }
}

impl Entry {
    fn known_method(&self) -> Result<Method, ArchiveError> {
        match self.method {
            0 => Ok(Method::Stored),
            8 => Ok(Method::Deflate),
            method => Err(ArchiveError::Method { name: self.name.clone(), method }),
        }
    }

    fn damage(&self, damage: &'static str) -> ArchiveError {
        ArchiveError::Entry { name: self.name.clone(), damage }
    }
}

fn copy_checked(
    entry: &Entry,
    mut data: impl Read,
    caps: OutputCaps,
    output: &mut dyn Write,
) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut crc32 = crc32fast::Hasher::new();
    let mut produced = 0_u64;
    loop {
        let read = match data.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Err(read_error(entry, error)),
        };
        produced += read as u64;
        if produced > caps.bytes {
            return Err(ArchiveError::EntryTooLarge {
                name: entry.name.clone(),
                limit: caps.bytes,
            });
        }
        if produced > caps.ratio_from && produced > caps.ratio.saturating_mul(entry.compressed) {
            return Err(ArchiveError::Ratio(entry.name.clone()));
        }
        crc32.update(&buffer[..read]);
        output.write_all(&buffer[..read]).map_err(ArchiveError::Io)?;
    }
    if produced != entry.uncompressed {
        return Err(entry.damage("its length is not the one in the central directory"));
    }
    if crc32.finalize() != entry.crc32 {
        return Err(entry.damage("its CRC-32 is wrong"));
    }
    Ok(produced)
}

/// The decoder reports corrupt data with these kinds; every other kind is a failure of the file.
fn read_error(entry: &Entry, error: io::Error) -> ArchiveError {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    if matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
        entry.damage("its compressed data is corrupt")
    } else {
        ArchiveError::Io(error)
    }
}
