//! What a body tells without being inflated, decoded or copied: its build id (contract §6.6, §6.7) and
//! where it crashed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};

use super::framing::{DECISIVE_BYTES, Framing};
use super::notes::{Note, Notes};
use crate::coredumps::coredump::BuildId;

const HEADER_BYTES: u64 = 52;
/// `e_ident` as far as it is fixed: magic, 32 bits, little endian.
const IDENT: [u8; 6] = *b"\x7fELF\x01\x01";
const ET_CORE: u16 = 4;
const PROGRAM_HEADER_BYTES: u16 = 32;
const PT_NOTE: u32 = 4;

const MOST_PROGRAM_HEADERS: u16 = 4096;
/// Bytes of one segment of notes that are looked at.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Bytes of all notes that are looked at.
const ALL_NOTE_BYTES: u64 = 1024 * 1024;
const MOST_NOTES: usize = 10_000;

/// What the first kilobytes of a body say about the cause of its crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CauseHint {
    /// How the digest of its ELF begins.
    pub build_id: Option<BuildId>,
    /// A hash that crashes of one build share when they happened at the same place, with the same words
    /// of the panic. Of no meaning outside this process.
    pub crash_site: Option<u64>,
}

/// Reads the hint of a body without inflating or decoding it; a body which cannot be read has none. Needs at
/// most about 300 KiB of memory and reads at most 2 MiB.
pub fn cause_hint<R: Read + Seek>(body: &mut R) -> CauseHint {
    let mut seen = Seen::default();
    // What was seen before a body ended early counts.
    let _ = look(body, &mut seen);
    seen.hint()
}

/// The build id which a body names.
pub fn build_id<R: Read + Seek>(body: &mut R) -> Option<BuildId> {
    cause_hint(body).build_id
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    build_id: Option<BuildId>,
    program_counter: Option<u32>,
    panic_details: Option<u64>,
}

impl Seen {
    /// The first of each counts; the crashed task comes first.
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
        let place = self.program_counter.map(|pc| (pc, self.panic_details));
        CauseHint { build_id: self.build_id, crash_site: place.map(hash) }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn look<R: Read + Seek>(body: &mut R, seen: &mut Seen) -> io::Result<()> {
    let Some(mut elf) = Elf::within(body)? else { return Ok(()) };
    let Some(table) = elf.program_headers()? else { return Ok(()) };
    let mut bytes_left = ALL_NOTE_BYTES;
    let mut notes_left = MOST_NOTES;
    for segment in table.as_chunks().0.iter().filter_map(note_segment) {
        let notes = elf.read(segment.offset, segment.length.min(SEGMENT_BYTES).min(bytes_left))?;
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

/// The ELF of a body. Offsets are those of the ELF, however it is framed.
struct Elf<'a, R> {
    body: &'a mut R,
    /// What stands before the body.
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

    /// Bytes of the ELF, less of them where it ends early.
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
    let number = u16_at(header, 44)?.min(MOST_PROGRAM_HEADERS);
    let length = u64::from(number) * u64::from(PROGRAM_HEADER_BYTES);
    Some((u32_at(header, 28)?.into(), length))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|value| u16::from_le_bytes(*value))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|value| u32::from_le_bytes(*value))
}
