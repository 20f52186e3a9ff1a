//! Finds build id (contract §6.6, §6.7) and crash site of a body without inflating, decoding or
//! copying it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};

use super::framing::{DECISIVE_BYTES, Framing};
use super::notes::{Note, Notes};
use crate::coredumps::coredump::BuildId;

const HEADER_BYTES: u64 = 52;
/// The fixed bytes of `e_ident`: magic, 32 bits, little endian.
const IDENT: [u8; 6] = *b"\x7fELF\x01\x01";
const ET_CORE: u16 = 4;
const PROGRAM_HEADER_BYTES: u16 = 32;
const PT_NOTE: u32 = 4;

const MAX_PROGRAM_HEADERS: u16 = 4096;
/// Bytes that are read of one segment of notes.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024;
/// Bytes that are read of all segments of notes.
const MAX_NOTE_BYTES: u64 = 1024 * 1024;
const MAX_NOTES: usize = 10_000;

/// What the first kilobytes of a body contain about the cause of its crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CauseHint {
    pub build_id: Option<BuildId>,
    /// A hash over program counter and panic details: equal for crashes of one build at the same
    /// place with the same details. Only comparable within this process.
    pub crash_site: Option<u64>,
}

/// Reads the hint of a body without inflating or decoding it; it is empty if the body cannot be
/// read. Needs at most about 300 KiB of memory and reads at most 2 MiB.
pub fn cause_hint<R: Read + Seek>(body: &mut R) -> CauseHint {
    let mut seen = Seen::default();
    // If the body ends early, the notes before its end count.
    let _ = read_notes(body, &mut seen);
    seen.hint()
}

/// The build id in a body.
pub fn build_id<R: Read + Seek>(body: &mut R) -> Option<BuildId> {
    cause_hint(body).build_id
}

/// What the notes read so far contain.
#[derive(Default)]
struct Seen {
    build_id: Option<BuildId>,
    program_counter: Option<u32>,
    panic_details: Option<u64>,
}

impl Seen {
    /// The first note of each kind counts: the crashed task is the first task.
    fn note(&mut self, note: &Note<'_>) {
        if self.build_id.is_none() {
            self.build_id = note.build_id();
        }
        if self.program_counter.is_none() {
            self.program_counter = note.program_counter();
        }
        if self.panic_details.is_none() {
            self.panic_details = note.panic_details().map(hash);
        }
    }

    fn hint(self) -> CauseHint {
        let site = self.program_counter.map(|pc| (pc, self.panic_details));
        CauseHint { build_id: self.build_id, crash_site: site.map(hash) }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn read_notes<R: Read + Seek>(body: &mut R, seen: &mut Seen) -> io::Result<()> {
    let Some(mut elf) = Elf::within(body)? else { return Ok(()) };
    let Some(table) = elf.program_headers()? else { return Ok(()) };
    let mut bytes_left = MAX_NOTE_BYTES;
    let mut notes_left = MAX_NOTES;
    for segment in table.as_chunks().0.iter().filter_map(note_segment) {
        let length = segment.length.min(MAX_SEGMENT_BYTES).min(bytes_left);
        let notes = elf.read(segment.offset, length)?;
        bytes_left = bytes_left.saturating_sub(notes.len() as u64);
        for note in Notes::of(&notes).take(notes_left) {
            seen.note(&note);
            notes_left -= 1;
        }
    }
    Ok(())
}

struct Segment {
    offset: u64,
    length: u64,
}

fn note_segment(header: &[u8; PROGRAM_HEADER_BYTES as usize]) -> Option<Segment> {
    let segment = Segment { offset: u32_at(header, 4)?.into(), length: u32_at(header, 16)?.into() };
    (u32_at(header, 0)? == PT_NOTE).then_some(segment)
}

/// The ELF in a body. Offsets are relative to the ELF, also if it is in a raw image or lacks its
/// first bytes.
struct Elf<'a, R> {
    body: &'a mut R,
    /// The first bytes of the ELF which the body lacks.
    missing: &'static [u8],
    /// Bytes of the body before the ELF.
    header: u64,
    /// Length of the ELF, as far as it is known.
    length: Option<u64>,
}

impl<'a, R: Read + Seek> Elf<'a, R> {
    fn within(body: &'a mut R) -> io::Result<Option<Self>> {
        let mut whole = Self { body, missing: &[], header: 0, length: None };
        let start = whole.read(0, DECISIVE_BYTES as u64)?;
        Ok(match Framing::of(&start) {
            Some(Framing::Elf) => Some(whole),
            Some(Framing::StrippedElf { missing }) => Some(Self { missing, ..whole }),
            Some(Framing::Raw(image)) => image.elf().map(|(header, end)| {
                let length = end.map(|end| end.saturating_sub(header.into()).into());
                Self { header: header.into(), length, ..whole }
            }),
            None => None,
        })
    }

    /// The program headers, as many as there are bytes for.
    fn program_headers(&mut self) -> io::Result<Option<Vec<u8>>> {
        let header = self.read(0, HEADER_BYTES)?;
        let Some((offset, length)) = program_header_table(&header) else { return Ok(None) };
        self.read(offset, length).map(Some)
    }

    /// Reads bytes of the ELF; fewer if it ends early.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = self.length.map_or(length, |all| length.min(all.saturating_sub(offset)));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let missing = self.missing.get(skipped..).unwrap_or_default();
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = missing.get(..wanted).unwrap_or(missing).to_vec();
        let rest = length.saturating_sub(bytes.len() as u64);
        let position = offset.saturating_sub(self.missing.len() as u64).saturating_add(self.header);
        self.body.seek(SeekFrom::Start(position))?;
        self.body.take(rest).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Offset and length in bytes.
fn program_header_table(header: &[u8]) -> Option<(u64, u64)> {
    if !header.starts_with(&IDENT)
        || u16_at(header, 16)? != ET_CORE
        || u16_at(header, 42)? != PROGRAM_HEADER_BYTES
    {
        return None;
    }
    let number = u16_at(header, 44)?.min(MAX_PROGRAM_HEADERS);
    let length = u64::from(number) * u64::from(PROGRAM_HEADER_BYTES);
    Some((u32_at(header, 28)?.into(), length))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|value| u16::from_le_bytes(*value))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|value| u32::from_le_bytes(*value))
}
