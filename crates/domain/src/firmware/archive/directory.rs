//! Finds and reads the central directory of an archive.

use std::io::{Read, Seek, SeekFrom};

use super::{ArchiveError, Entry};

/// A larger directory is refused without reading it: five entries need less than 1 KiB.
const MAX_DIRECTORY_BYTES: u64 = 1024 * 1024;
const END_BYTES: usize = 22;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: usize = 56;
const CENTRAL_BYTES: usize = 46;
const MAX_COMMENT_BYTES: u64 = u16::MAX as u64;
const ZIP64_EXTRA: u16 = 0x0001;

/// The offset of the directory, and its entries in order.
pub(super) fn read_directory<R: Read + Seek>(
    reader: &mut R,
) -> Result<(u64, Vec<Entry>), ArchiveError> {
    let length = reader.seek(SeekFrom::End(0)).map_err(ArchiveError::Io)?;
    let directory = find_directory(reader, length)?;
    if directory.bytes > MAX_DIRECTORY_BYTES {
        return Err(ArchiveError::Damaged("its central directory is larger than 1 MiB"));
    }
    let bytes = read_at(reader, directory.offset, directory.bytes)?;
    Ok((directory.offset, parse_directory(&bytes, directory.entries)?))
}

struct Directory {
    offset: u64,
    bytes: u64,
    entries: u64,
}

fn find_directory<R: Read + Seek>(reader: &mut R, length: u64) -> Result<Directory, ArchiveError> {
    let tail_bytes = length.min(END_BYTES as u64 + MAX_COMMENT_BYTES);
    let tail_offset = length - tail_bytes;
    let tail = read_at(reader, tail_offset, tail_bytes)?;
    let no_end = ArchiveError::Damaged("it has no end of central directory");
    let position = find_end(&tail).ok_or(no_end)?;
    let end_offset = tail_offset + position as u64;
    let end = Fields(&tail[position..]);
    let locator = match end_offset.checked_sub(LOCATOR_BYTES) {
        Some(offset) => read_at(reader, offset, LOCATOR_BYTES)?,
        None => Vec::new(),
    };
    let directory = if Fields(&locator).u32(0) == Some(0x0706_4B50) {
        read_end64(reader, &locator, end_offset)?
    } else {
        parse_end(end).ok_or(ArchiveError::MultiDisk)?
    };
    let directory_end = directory.offset.checked_add(directory.bytes);
    if directory_end.is_none_or(|directory_end| directory_end > end_offset) {
        return Err(ArchiveError::Damaged("its central directory is outside the archive"));
    }
    Ok(directory)
}

/// The position of the last end record whose comment ends exactly at the end of the file.
fn find_end(tail: &[u8]) -> Option<usize> {
    (0..=tail.len().checked_sub(END_BYTES)?).rev().find(|position| {
        let end = Fields(&tail[*position..]);
        let comment_bytes = tail.len() - position - END_BYTES;
        end.u32(0) == Some(0x0605_4B50) && end.u16(20).map(usize::from) == Some(comment_bytes)
    })
}

/// `None` when the record refers to other disks.
fn parse_end(end: Fields<'_>) -> Option<Directory> {
    let (disk, directory_disk) = (end.u16(4)?, end.u16(6)?);
    let (here, entries) = (end.u16(8)?, end.u16(10)?);
    (disk == 0 && directory_disk == 0 && here == entries).then_some(())?;
    Some(Directory {
        offset: u64::from(end.u32(16)?),
        bytes: u64::from(end.u32(12)?),
        entries: u64::from(entries),
    })
}

fn read_end64<R: Read + Seek>(
    reader: &mut R,
    locator: &[u8],
    end_offset: u64,
) -> Result<Directory, ArchiveError> {
    let damaged = || ArchiveError::Damaged("its ZIP64 end record is wrong");
    let locator = Fields(locator);
    let (disk, disks) = (locator.u32(4), locator.u32(16));
    if disk != Some(0) || disks.is_none_or(|disks| disks > 1) {
        return Err(ArchiveError::MultiDisk);
    }
    let offset = locator.u64(8).ok_or_else(damaged)?;
    if offset.checked_add(END64_BYTES as u64).is_none_or(|end| end > end_offset) {
        return Err(damaged());
    }
    let bytes = read_at(reader, offset, END64_BYTES as u64)?;
    let end = Fields(&bytes);
    if end.u32(0) != Some(0x0606_4B50) {
        return Err(damaged());
    }
    let (here, entries) = (end.u64(24), end.u64(32).ok_or_else(damaged)?);
    if end.u32(16) != Some(0) || end.u32(20) != Some(0) || here != Some(entries) {
        return Err(ArchiveError::MultiDisk);
    }
    let (bytes, offset) = (end.u64(40).ok_or_else(damaged)?, end.u64(48).ok_or_else(damaged)?);
    Ok(Directory { offset, bytes, entries })
}

fn parse_directory(mut bytes: &[u8], count: u64) -> Result<Vec<Entry>, ArchiveError> {
    let damaged = ArchiveError::Damaged("its central directory is truncated or too long");
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let Some((entry, rest)) = parse_central(bytes)? else { return Err(damaged) };
        entries.push(entry);
        bytes = rest;
    }
    if entries.len() as u64 == count { Ok(entries) } else { Err(damaged) }
}

/// The first header and the bytes behind it; `None` when the bytes are truncated or not a header.
fn parse_central(bytes: &[u8]) -> Result<Option<(Entry, &[u8])>, ArchiveError> {
    let fields = Fields(bytes);
    if fields.u32(0) != Some(0x0201_4B50) || bytes.len() < CENTRAL_BYTES {
        return Ok(None);
    }
    let length = |offset| usize::from(fields.u16(offset).unwrap_or_default());
    let (name_bytes, extra_bytes, comment_bytes) = (length(28), length(30), length(32));
    let Some((header, rest)) =
        bytes.split_at_checked(CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes)
    else {
        return Ok(None);
    };
    let name = &header[CENTRAL_BYTES..CENTRAL_BYTES + name_bytes];
    let extra = &header[CENTRAL_BYTES + name_bytes..][..extra_bytes];
    let wide = WideSizes::of(fields, extra);
    let Some(WideSizes { uncompressed, compressed, local_offset, disk }) = wide else {
        return Ok(None);
    };
    if disk != 0 {
        return Err(ArchiveError::MultiDisk);
    }
    let word = |offset| fields.u16(offset).unwrap_or_default();
    let entry = Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        raw_name: name.to_vec(),
        flags: word(8),
        method: word(10),
        crc32: fields.u32(16).unwrap_or_default(),
        compressed,
        uncompressed,
        local_offset,
    };
    Ok(Some((entry, rest)))
}

/// Sizes and offset of an entry, read from the ZIP64 extra field where the header refers to it.
struct WideSizes {
    uncompressed: u64,
    compressed: u64,
    local_offset: u64,
    disk: u32,
}

impl WideSizes {
    fn of(header: Fields<'_>, extra: &[u8]) -> Option<Self> {
        let mut wide = zip64_extra(extra).unwrap_or_default();
        let mut next = |narrow: u32| {
            if narrow != u32::MAX {
                return Some(u64::from(narrow));
            }
            let (value, rest) = wide.split_first_chunk::<8>()?;
            wide = rest;
            Some(u64::from_le_bytes(*value))
        };
        let uncompressed = next(header.u32(24)?)?;
        let compressed = next(header.u32(20)?)?;
        let local_offset = next(header.u32(42)?)?;
        let disk = match header.u16(34)? {
            u16::MAX => Fields(wide).u32(0)?,
            disk => u32::from(disk),
        };
        Some(Self { uncompressed, compressed, local_offset, disk })
    }
}

fn zip64_extra(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let fields = Fields(extra);
        let (id, size) = (fields.u16(0)?, usize::from(fields.u16(2)?));
        let (content, rest) = extra[4..].split_at_checked(size)?;
        if id == ZIP64_EXTRA {
            return Some(content);
        }
        extra = rest;
    }
}

/// Reads exactly `length` bytes from `offset` on.
pub(super) fn read_at<R: Read + Seek>(
    reader: &mut R,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, ArchiveError> {
    reader.seek(SeekFrom::Start(offset)).map_err(ArchiveError::Io)?;
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(ArchiveError::Io)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(ArchiveError::Damaged("it ends early"))
    }
}

/// Little-endian fields of a record.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk::<N>().copied()
    }

    pub(super) fn u16(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, offset: usize) -> Option<u32> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    fn u64(&self, offset: usize) -> Option<u64> {
        self.bytes(offset).map(u64::from_le_bytes)
    }
}
