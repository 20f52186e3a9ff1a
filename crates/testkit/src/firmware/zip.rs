//! A ZIP writer which can also write invalid archives.

mod entry;

pub use entry::ZipEntry;

/// Builds an archive of [`ZipEntry`]s.
#[derive(Debug, Clone, Default)]
pub struct ZipBuilder {
    entries: Vec<ZipEntry>,
    prefix: Vec<u8>,
    comment: Vec<u8>,
    disk: u16,
}

impl ZipBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, even if an entry with the same name exists.
    #[must_use]
    pub fn entry(mut self, entry: ZipEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// The bytes before the archive; offsets do not count them.
    #[must_use]
    pub fn prefix(self, prefix: &[u8]) -> Self {
        Self { prefix: prefix.to_vec(), ..self }
    }

    /// The comment at the end.
    #[must_use]
    pub fn comment(self, comment: &[u8]) -> Self {
        Self { comment: comment.to_vec(), ..self }
    }

    /// Claims to be the last of several disks, unless 0.
    #[must_use]
    pub fn disk(self, disk: u16) -> Self {
        Self { disk, ..self }
    }

    /// The bytes of the archive.
    pub fn build(&self) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            let bytes = entry.bytes();
            entry.write_central(&mut directory, bytes.len(), archive.len());
            entry.write_local(&mut archive, &bytes);
        }
        let offset = archive.len();
        archive.extend(&directory);
        let zip64 = self.entries.iter().any(|entry| entry.zip64);
        if zip64 {
            self.write_zip64_end(&mut archive, offset, directory.len());
        }
        self.write_end(&mut archive, zip64.then_some(u64::MAX), [directory.len(), offset]);
        [self.prefix.as_slice(), &archive].concat()
    }

    fn write_zip64_end(&self, archive: &mut Vec<u8>, offset: usize, length: usize) {
        let end = archive.len() as u64;
        archive.extend(b"PK\x06\x06");
        archive.extend(44_u64.to_le_bytes());
        archive.extend([45, 0, 45, 0]);
        archive.extend(u32::from(self.disk).to_le_bytes());
        archive.extend(0_u32.to_le_bytes());
        for value in [self.entries.len(), self.entries.len(), length, offset] {
            archive.extend((value as u64).to_le_bytes());
        }
        archive.extend(b"PK\x06\x07\x00\x00\x00\x00");
        archive.extend(end.to_le_bytes());
        archive.extend((u32::from(self.disk) + 1).to_le_bytes());
    }

    /// `instead` replaces every count, size and offset, cut to the width of its field.
    fn write_end(&self, archive: &mut Vec<u8>, instead: Option<u64>, directory: [usize; 2]) {
        let shown = |value: usize| instead.unwrap_or(value as u64).to_le_bytes();
        let count = self.entries.len();
        archive.extend(b"PK\x05\x06");
        archive.extend(self.disk.to_le_bytes());
        archive.extend([0; 2]);
        archive.extend(&shown(count)[..2]);
        archive.extend(&shown(count)[..2]);
        archive.extend(directory.iter().flat_map(|value| shown(*value).into_iter().take(4)));
        archive.extend(low16(self.comment.len()).to_le_bytes());
        archive.extend(&self.comment);
    }
}

fn low16(value: usize) -> u16 {
    u16::try_from(value).expect("names and comments are shorter than 64 KiB")
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    fn read_back(archive: Vec<u8>) -> Vec<(String, Vec<u8>)> {
        let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        let count = archive.len();
        let read = |index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        };
        (0..count).map(read).collect()
    }

    #[test]
    fn unusual_but_valid_archives_are_read_back() {
        let plain = ZipEntry::new("a", vec![7; 5000]);
        let variants = [
            plain.clone(),
            plain.clone().stored(),
            plain.clone().data_descriptor(),
            plain.clone().zip64(),
            plain.clone().zip64().data_descriptor(),
        ];
        for variant in variants {
            let archive = ZipBuilder::new().entry(variant).entry(ZipEntry::new("b", "bb"));
            let expected = [("a".to_owned(), vec![7; 5000]), ("b".to_owned(), b"bb".to_vec())];
            assert_eq!(read_back(archive.build()), expected);
            assert_eq!(read_back(archive.clone().comment(b"good bye").build()), expected);
            assert_eq!(read_back(archive.prefix(b"#!/bin/sh\n").build()), expected);
        }
    }

    #[test]
    fn a_bomb_inflates_to_more_than_it_claims() {
        let archive = ZipBuilder::new().entry(ZipEntry::bomb("a", 3_000_000)).build();
        assert!(archive.len() < 10_000);
        let bomb = ZipEntry::bomb("a", 3_000_000).bytes();
        let mut inflated = Vec::new();
        flate2::read::DeflateDecoder::new(&*bomb).read_to_end(&mut inflated).unwrap();
        assert_eq!(inflated.len(), 3 << 20);
        assert!(inflated.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn wrong_claims_are_refused_by_readers() {
        let wrong = [
            ZipEntry::new("a", "abc").crc32(1),
            ZipEntry::new("a", "abc").encrypted(),
            ZipEntry::new("a", "abc").method(12),
        ];
        for entry in wrong {
            let archive = ZipBuilder::new().entry(entry).build();
            let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
            let read =
                archive.by_index(0).map_err(|error| error.to_string()).and_then(|mut entry| {
                    entry.read_to_end(&mut Vec::new()).map_err(|error| error.to_string())
                });
            assert!(read.is_err());
        }
    }
}
