//! ROM ELFs: symbols of the code in the ROM of a chip (contract §8.2).

use std::fmt;
use std::io::{self, Read};

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::spooled_file::SpooledFile;
use crate::artifacts::store::ArtifactFacts;
use crate::chip::{Architecture, KnownChip};
use crate::timestamp::Timestamp;

/// The ROM ELFs of Espressif have less than 1 MiB; with line information they would have a few MiB.
pub const MAX_ROM_ELF_BYTES: u64 = 16 * 1024 * 1024;

/// The fixed bytes of `e_ident`: magic, 32 bits, little endian.
const IDENT: [u8; 6] = *b"\x7fELF\x01\x01";
const MAGIC: &[u8] = IDENT.split_at(4).0;
/// The header of a 32-bit ELF.
const HEADER_BYTES: usize = 52;
const ET_EXEC: u16 = 2;

/// The name of a ROM ELF for people: 1–64 characters, no control characters, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RomElfName(String);

impl RomElfName {
    /// Trims the text first.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=64).contains(&text.chars().count());
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RomElfName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A stored ROM ELF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RomElf {
    pub id: i64,
    /// The chip whose ROM it describes.
    pub chip: KnownChip,
    /// For instance the revision of the chip.
    pub name: RomElfName,
    /// Length and digest of the ELF; the digest is unique.
    pub facts: ArtifactFacts,
    pub uploaded_at: Timestamp,
}

impl RomElf {
    pub const fn key(&self) -> ArtifactKey {
        ArtifactKey::RomElf { sha256: self.facts.sha256 }
    }
}

/// Why a file is not a ROM ELF of a chip.
#[derive(Debug, thiserror::Error)]
pub enum RomElfError {
    #[error("expected an ELF, found an empty body")]
    Empty,
    /// It does not start with the magic of an ELF, or ends within the header.
    #[error("expected an ELF, found a body that does not begin with the header of an ELF")]
    NotAnElf,
    #[error(
        "expected a 32-bit little-endian ELF (EI_CLASS 1, EI_DATA 1), found EI_CLASS {class} and \
         EI_DATA {data}"
    )]
    WrongClass {
        /// `e_ident[EI_CLASS]`; 1 means 32 bits.
        class: u8,
        /// `e_ident[EI_DATA]`; 1 means little-endian.
        data: u8,
    },
    /// For instance an object file, a library or a core.
    #[error("expected an executable ELF (type 2), found type {actual}")]
    NotExecutable {
        /// `e_type`
        actual: u16,
    },
    #[error(
        "expected an ELF for {expected} (machine {}), the architecture of {chip}, found machine {actual}",
        .expected.elf_machine()
    )]
    WrongMachine {
        chip: KnownChip,
        expected: Architecture,
        /// `e_machine`
        actual: u16,
    },
    /// Without a whole section table there are no symbols.
    #[error("expected a complete ELF, found one whose section table is missing or truncated")]
    Incomplete,
    #[error("the ELF could not be read")]
    Io(#[from] io::Error),
}

impl RomElfError {
    /// Whether the server failed and the file is not at fault.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

/// A file whose header is that of a ROM ELF of a chip.
#[derive(Debug, Clone)]
pub struct CheckedRomElf {
    chip: KnownChip,
    file: SpooledFile,
}

impl CheckedRomElf {
    /// Checks the header of the ELF. Blocks while it reads 52 bytes.
    pub fn open(file: SpooledFile, chip: KnownChip) -> Result<Self, RomElfError> {
        let mut start = Vec::with_capacity(HEADER_BYTES);
        file.reader().take(HEADER_BYTES as u64).read_to_end(&mut start)?;
        check(&start, file.length(), chip)?;
        Ok(Self { chip, file })
    }

    /// The chip for which the file was checked.
    pub const fn chip(&self) -> KnownChip {
        self.chip
    }

    pub const fn file(&self) -> &SpooledFile {
        &self.file
    }

    pub const fn facts(&self) -> ArtifactFacts {
        ArtifactFacts { size: self.file.length(), sha256: self.file.sha256() }
    }
}

/// Checks an ELF of `length` bytes by its header, which is in `start`.
fn check(start: &[u8], length: u64, chip: KnownChip) -> Result<(), RomElfError> {
    if start.is_empty() {
        return Err(RomElfError::Empty);
    }
    if !start.starts_with(MAGIC) {
        return Err(RomElfError::NotAnElf);
    }
    let Some((header, _)) = start.split_first_chunk::<HEADER_BYTES>() else {
        return Err(RomElfError::NotAnElf);
    };
    if !header.starts_with(&IDENT) {
        return Err(RomElfError::WrongClass { class: header[4], data: header[5] });
    }
    let read_u16 = |offset: usize| u16::from_le_bytes([header[offset], header[offset + 1]]);
    let (expected, actual) = (chip.architecture(), read_u16(18));
    if actual != expected.elf_machine() {
        return Err(RomElfError::WrongMachine { chip, expected, actual });
    }
    let kind = read_u16(16);
    if kind != ET_EXEC {
        return Err(RomElfError::NotExecutable { actual: kind });
    }
    let sections = u32::from_le_bytes([header[32], header[33], header[34], header[35]]);
    let table = u64::from(read_u16(46)) * u64::from(read_u16(48));
    if sections == 0 || table == 0 || u64::from(sections) + table > length {
        return Err(RomElfError::Incomplete);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with a table of two sections behind it: 132 bytes in all.
    fn header(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..6].copy_from_slice(&IDENT);
        bytes[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..36].copy_from_slice(&52_u32.to_le_bytes());
        bytes[46..48].copy_from_slice(&40_u16.to_le_bytes());
        bytes[48..50].copy_from_slice(&2_u16.to_le_bytes());
        bytes
    }

    fn checked(bytes: &[u8], length: u64) -> Result<(), String> {
        let chip = KnownChip::named("esp32c6").unwrap();
        check(bytes, length, chip).map_err(|error| error.to_string())
    }

    /// The error text for a header with one changed byte.
    fn error_of(offset: usize, byte: u8) -> String {
        let mut bytes = header(243);
        bytes[offset] = byte;
        checked(&bytes, 132).unwrap_err()
    }

    #[test]
    fn an_executable_of_the_architecture_passes() {
        checked(&header(243), 132).unwrap();
        let xtensa = KnownChip::named("esp32").unwrap();
        check(&header(94), 132, xtensa).unwrap();
    }

    #[test]
    fn each_fault_has_its_own_text() {
        assert!(checked(b"", 0).unwrap_err().contains("empty"));
        for other in [&b"\x7f"[..], b"PK\x03\x04", &header(243)[..51]] {
            let error = checked(other, other.len() as u64).unwrap_err();
            assert!(error.contains("does not begin with the header of an ELF"), "{error}");
        }
        let (class, endianness) = (4, 5);
        for offset in [class, endianness] {
            assert!(error_of(offset, 2).contains("expected a 32-bit little-endian ELF"));
        }
        assert!(error_of(16, 4).contains("type 4"));
        let other = error_of(18, 94);
        for part in ["RISC-V", "machine 243", "esp32c6", "machine 94"] {
            assert!(other.contains(part), "{other}");
        }
    }

    #[test]
    fn an_elf_without_its_whole_section_table_is_incomplete() {
        assert!(checked(&header(243), 131).unwrap_err().contains("section table"));
        let (offset, number) = (32, 48);
        for place in [offset, number] {
            assert!(error_of(place, 0).contains("section table"));
        }
        let mut beyond = header(243);
        beyond[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        beyond[46..50].copy_from_slice(&[0xFF; 4]);
        assert!(checked(&beyond, MAX_ROM_ELF_BYTES).is_err());
    }

    #[test]
    fn names_are_trimmed_short_and_printable() {
        assert_eq!(RomElfName::parse(" rev 3.0 ").unwrap().as_str(), "rev 3.0");
        let longest = "é".repeat(64);
        assert!(RomElfName::parse(&longest).is_some());
        for bad in ["", "  ", "a\u{7}b", "a\nb", &format!("{longest}e")] {
            assert!(RomElfName::parse(bad).is_none(), "{bad:?}");
        }
    }
}
