//! The notes of an ELF core (contract §6.6).

use crate::coredumps::coredump::BuildId;

const HEADER_BYTES: usize = 12;
/// `ESP_CORE_DUMP_INFO_TYPE` of ESP-IDF; other notes have the same number with another name.
const DUMP_INFO: (&[u8], u32) = (b"ESP_CORE_DUMP_INFO", 8266);
/// The version word at the start of that note, in front of the build id.
const VERSION_BYTES: usize = 4;
/// `ELF_CORE_DUMP_INFO_SHA_SIZE`: at most 64 digits and a NUL.
const BUILD_ID_BYTES: usize = 65;
/// `NT_PRSTATUS`, one for each task.
const TASK_STATUS: u32 = 1;
/// The registers in it begin with the program counter on both architectures (`core_dump_elf.c`).
const PROGRAM_COUNTER: usize = 72;
/// The text of the panic (contract §6.6).
const PANIC_DETAILS: u32 = 679;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// Up to the first NUL.
    pub name: &'a [u8],
    /// What it means depends on the name.
    pub kind: u32,
    pub description: &'a [u8],
}

impl Note<'_> {
    /// The build id, if this is the note which contains it.
    pub fn build_id(&self) -> Option<BuildId> {
        if (self.name, self.kind) != DUMP_INFO {
            return None;
        }
        let field = self.description.get(VERSION_BYTES..)?;
        let field = field.get(..BUILD_ID_BYTES).unwrap_or(field);
        BuildId::parse(std::str::from_utf8(until_nul(field)).ok()?)
    }

    /// The program counter, if the note is of a task.
    pub fn program_counter(&self) -> Option<u32> {
        let word = self.description.get(PROGRAM_COUNTER..)?.first_chunk()?;
        ((self.name, self.kind) == (b"CORE", TASK_STATUS)).then(|| u32::from_le_bytes(*word))
    }

    /// The text of the panic, if this is the note which contains it.
    pub fn panic_details(&self) -> Option<&[u8]> {
        (self.kind == PANIC_DETAILS).then(|| until_nul(self.description))
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The notes of one segment, up to the first which does not fit into the segment.
pub struct Notes<'a> {
    rest: &'a [u8],
}

impl<'a> Notes<'a> {
    pub fn of(segment: &'a [u8]) -> Self {
        Self { rest: segment }
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        let (words, rest) = self.rest.split_at_checked(HEADER_BYTES)?;
        let words = words.as_chunks().0.first_chunk()?;
        let [name_length, length, kind] = words.map(u32::from_le_bytes);
        let (name, rest) = field(rest, name_length)?;
        let (description, rest) = field(rest, length)?;
        self.rest = rest;
        Some(Note { name: until_nul(name), kind, description })
    }
}

/// A field, and the bytes behind its padding. Old versions of ESP-IDF count the padding of a name
/// as part of it, newer versions do not; both pad. The padding of the last field may be missing.
fn field(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(length).ok()?;
    let value = bytes.get(..length)?;
    let rest = length.checked_next_multiple_of(4).and_then(|padded| bytes.get(padded..));
    Some((value, rest.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note whose header states these lengths.
    fn note(name_length: u32, name: &[u8], length: u32, description: &[u8]) -> Vec<u8> {
        let mut note: Vec<u8> =
            [name_length, length, 8266].into_iter().flat_map(u32::to_le_bytes).collect();
        for field in [name, description] {
            note.extend(field);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn names_are_read_with_and_without_their_padding() {
        let old = note(8, b"CORE\0\0\0\0", 5, b"12345");
        let new = note(5, b"CORE\0", 5, b"12345");
        let junk = note(8, b"CORE\0xyz", 5, b"12345");
        let unended = note(4, b"CORE", 5, b"12345");
        let segment = [old, new, junk, unended].concat();
        let expected = Note { name: b"CORE", kind: 8266, description: b"12345" };
        assert_eq!(Notes::of(&segment).collect::<Vec<_>>(), [expected; 4]);
    }

    #[test]
    fn the_last_note_may_lack_its_padding() {
        let mut segment = note(5, b"CORE\0", 5, b"12345");
        segment.truncate(segment.len() - 3);
        assert_eq!(Notes::of(&segment).count(), 1);
        segment.truncate(segment.len() - 1);
        assert_eq!(Notes::of(&segment).count(), 0);
    }

    #[test]
    fn sizes_that_do_not_fit_end_the_notes() {
        for size in [20, 1 << 31, u32::MAX - 3, u32::MAX - 2, u32::MAX] {
            for hostile in [note(size, b"CORE", 4, b"1234"), note(4, b"CORE", size, b"1234")] {
                let segment = [note(4, b"CORE", 4, b"1234"), hostile].concat();
                assert_eq!(Notes::of(&segment).count(), 1, "{size}");
            }
        }
        assert_eq!(Notes::of(&note(0, b"", 0, b"")).count(), 1);
        assert_eq!(Notes::of(&[0; 11]).count(), 0);
        assert_eq!(Notes::of(&[]).count(), 0);
    }

    #[test]
    fn only_the_note_of_that_name_and_type_has_a_build_id() {
        let description = b"\x04\x01\x0d\x0064D3738C1\0\0\0junk";
        let info = Note { name: DUMP_INFO.0, kind: DUMP_INFO.1, description };
        assert_eq!(info.build_id().unwrap().as_str(), "64d3738c1");
        assert_eq!(Note { name: b"ESP_CHIP_REV", ..info }.build_id(), None);
        assert_eq!(Note { kind: 677, ..info }.build_id(), None);
    }

    #[test]
    fn a_build_id_ends_at_a_nul_or_with_its_field() {
        let of = |description: &[u8]| {
            Note { name: DUMP_INFO.0, kind: DUMP_INFO.1, description }.build_id()
        };
        let full = [&[0; 4][..], &[b'a'; 64]].concat();
        let longest = Some("a".repeat(64));
        for end in [&b""[..], b"\0", b"\0\0\0\0", b"\0abc"] {
            let found = of(&[&full, end].concat()).map(|build| build.as_str().to_owned());
            assert_eq!(found, longest, "{end:?}");
        }
        assert_eq!(of(&[&full[..], b"a\0"].concat()), None, "65 digits");
        for none in
            [&b""[..], b"\0\0\0", b"\0\0\0\0", b"\0\0\0\0\x0064d3738c1", b"\0\0\0\x001234567"]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
        for none in [&b"\0\0\0\x0064d3738c\xff\0"[..], b"\0\0\0\x0064d3738 c1\0"] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
