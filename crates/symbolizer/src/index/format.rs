//! The header of an index.
//!
//! All words are little-endian: `CDIX`, version of the format, machine (0 RISC-V, 1 Xtensa), flags,
//! SHA-256 of the ELF, then offset and length of each part in bytes.

use std::ops::Range;

use coredock_domain::chip::Architecture;
use coredock_domain::digest::Sha256Digest;

use crate::words::u32_at;

const MAGIC: &[u8; 4] = b"CDIX";
/// The format that is written and read. Every change raises it: an index of another format is built
/// again from its ELF.
pub const INDEX_FORMAT: u32 = 3;
const DIGEST: Range<usize> = 16..48;
const HEADER_BYTES: usize = DIGEST.end + 8 * PARTS;

/// The ELF has line tables.
pub(super) const HAS_LINES: u32 = 1;
/// The ELF has compressed sections, which are left out.
pub(super) const COMPRESSED: u32 = 2;

/// The parts of an index, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Each string once, preceded by its length.
    Strings,
    /// Functions and inlined calls: name, parent, file and line of the call.
    Scopes,
    /// Innermost scope from an address on.
    ScopeStarts,
    /// Path and short path of each file.
    Files,
    /// File and line from an address on.
    Lines,
    /// Unwind rules, each once.
    Rules,
    /// Unwind rule from an address on.
    Unwind,
    /// Target of the call that ends at an address.
    Calls,
    /// Target of the jump that ends at an address and leaves its function.
    Jumps,
    /// Size and name of functions.
    Functions,
    /// Start and length of the sections with instructions.
    Code,
    /// Layout of the task control block.
    TaskBlock,
    /// Loaded sections: name, address, size, flags.
    Regions,
    /// Offset of the parameters of a scope.
    ParametersOf,
    /// Parameters and their locations.
    Parameters,
    /// Name and type of parameters.
    Descriptions,
    /// Types of parameters.
    Types,
    /// Values and names of enumerators.
    Enumerators,
}

const PARTS: usize = Part::Enumerators as usize + 1;

/// Why bytes are not a usable index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Another kind of file, or a truncated index.
    #[error("expected a symbol index, found something else or a truncated one")]
    NotAnIndex,
    /// Written by another version of Coredock.
    #[error("expected a symbol index of format {INDEX_FORMAT}, found format {0}")]
    Version(u32),
}

#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) architecture: Architecture,
    pub(super) flags: u32,
    pub(super) elf_sha256: Sha256Digest,
    parts: [(u32, u32); PARTS],
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, IndexError> {
        if !bytes.starts_with(MAGIC) {
            return Err(IndexError::NotAnIndex);
        }
        let word = |at: usize| u32_at(bytes, at).ok_or(IndexError::NotAnIndex);
        let version = word(4)?;
        if version != INDEX_FORMAT {
            return Err(IndexError::Version(version));
        }
        let architecture = match word(8)? {
            0 => Architecture::RiscV,
            1 => Architecture::Xtensa,
            _ => return Err(IndexError::NotAnIndex),
        };
        let digest = bytes.get(DIGEST).and_then(|digest| <[u8; 32]>::try_from(digest).ok());
        let elf_sha256 = Sha256Digest::from(digest.ok_or(IndexError::NotAnIndex)?);
        let mut parts = [(0, 0); PARTS];
        for (number, part) in parts.iter_mut().enumerate() {
            let at = DIGEST.end + 8 * number;
            *part = (word(at)?, word(at + 4)?);
            let end = u64::from(part.0) + u64::from(part.1);
            if end > bytes.len() as u64 {
                return Err(IndexError::NotAnIndex);
            }
        }
        Ok(Self { architecture, flags: word(12)?, elf_sha256, parts })
    }

    pub(super) fn part(&self, part: Part) -> Range<usize> {
        let (start, length) = self.parts[part as usize];
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        start..start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
    }
}

/// The parts of an index that is being built.
#[derive(Default)]
pub(super) struct Parts([Vec<u8>; PARTS]);

impl Parts {
    pub(super) fn set(&mut self, part: Part, bytes: Vec<u8>) {
        self.0[part as usize] = bytes;
    }

    pub(super) fn write(
        &self,
        architecture: Architecture,
        flags: u32,
        elf_sha256: Sha256Digest,
    ) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let machine = match architecture {
            Architecture::RiscV => 0,
            Architecture::Xtensa => 1_u32,
        };
        for word in [INDEX_FORMAT, machine, flags] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(elf_sha256.bytes());
        let mut place = HEADER_BYTES;
        for part in &self.0 {
            for word in [place, part.len()] {
                bytes.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
            }
            place += part.len();
        }
        bytes.extend(self.0.iter().flatten());
        bytes
    }
}
