//! The formats of stored bodies (contract §6.6).
//!
//! They are the formats of ESP-IDF's core dump component (`core_dump_elf.c`, `core_dump_binary.c`,
//! `core_dump_uart.c`). Bodies come from untrusted sources: nothing in a body is trusted, and a
//! body which cannot be read is not an error.

mod elf;
mod framing;
mod notes;
mod wrapping;

use bytes::Bytes;

pub use elf::{CauseHint, build_id, cause_hint};
pub use framing::RawParts;
pub use notes::{Note, Notes};

use framing::Framing;

/// How many wrappings, one in the other, are removed from a body.
const MAX_UNWRAPPINGS: u8 = 2;

/// The format of a body, or of its content if it is wrapped (contract §6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A bare ELF core.
    Elf,
    /// The image which the device wrote to its partition.
    Raw,
    /// A bare ELF core without its first bytes.
    StrippedElf,
    /// Compressed; the content is of unknown format.
    Gzip,
    /// Console text; the content is of unknown format.
    Base64,
    Unknown,
}

impl Container {
    /// The text in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Raw => "raw",
            Self::StrippedElf => "stripped-elf",
            Self::Gzip => "gzip",
            Self::Base64 => "base64",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a dump was found. If not, the engine gets the body as it is stored (contract §6.11),
    /// or the dump is `DUMP_UNREADABLE` (contract §6.5).
    pub const fn is_dump(self) -> bool {
        match self {
            Self::Elf | Self::Raw | Self::StrippedElf => true,
            Self::Gzip | Self::Base64 | Self::Unknown => false,
        }
    }
}

/// A body without its wrappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped {
    pub container: Container,
    /// Something was missing or damaged, and was repaired or skipped.
    pub salvaged: bool,
    /// A bare ELF, or a raw image without trailing bytes; the stored body if neither was found.
    pub bytes: Bytes,
}

/// Removes the wrappings of a stored body. Never fails, and never needs more than about 200 MiB of
/// memory in addition to the body.
pub fn unwrap(body: &Bytes) -> Unwrapped {
    let read = read(body, MAX_UNWRAPPINGS);
    if read.container.is_dump() {
        return read;
    }
    Unwrapped { container: read.container, salvaged: false, bytes: body.clone() }
}

/// The parts of a raw image which [`unwrap`] returned.
pub fn raw_parts(image: &[u8]) -> Option<RawParts<'_>> {
    match Framing::of(image)? {
        Framing::Raw(raw) => Some(raw.parts(image)),
        Framing::Elf | Framing::StrippedElf { .. } => None,
    }
}

/// Tries the formats in the order of contract §6.6.
fn read(bytes: &Bytes, unwrappings: u8) -> Unwrapped {
    let left = unwrappings.checked_sub(1);
    if let Some(left) = left
        && let Some(inflated) = wrapping::inflate(bytes)
    {
        let inner = read_inside(Container::Gzip, &inflated.bytes, left);
        // A file of another format can start like gzip, but does not inflate to its end.
        if inflated.whole || inner.container.is_dump() {
            return Unwrapped { salvaged: inner.salvaged || !inflated.whole, ..inner };
        }
    }
    if let Some(framing) = Framing::of(bytes) {
        return bare(framing, bytes);
    }
    if let Some(left) = left
        && let Some(decoded) = wrapping::decode_console(bytes)
    {
        return read_inside(Container::Base64, &decoded, left);
    }
    Unwrapped { container: Container::Unknown, salvaged: false, bytes: bytes.clone() }
}

fn read_inside(wrapping: Container, content: &Bytes, unwrappings: u8) -> Unwrapped {
    let inner = read(content, unwrappings);
    let container = match inner.container {
        Container::Unknown => wrapping,
        known @ (Container::Elf
        | Container::Raw
        | Container::StrippedElf
        | Container::Gzip
        | Container::Base64) => known,
    };
    Unwrapped { container, ..inner }
}

fn bare(framing: Framing, bytes: &Bytes) -> Unwrapped {
    match framing {
        Framing::Elf => {
            Unwrapped { container: Container::Elf, salvaged: false, bytes: bytes.clone() }
        }
        Framing::Raw(image) => {
            let (bytes, intact) = image.cut_from(bytes);
            Unwrapped { container: Container::Raw, salvaged: !intact, bytes }
        }
        Framing::StrippedElf { missing } => {
            let bytes = [missing, bytes].concat().into();
            Unwrapped { container: Container::StrippedElf, salvaged: true, bytes }
        }
    }
}
