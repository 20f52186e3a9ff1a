//! Builders of dumps and of the containers of a body (contract §6.6).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coredock_domain::digest::Sha256Digest;
use flate2::Compression;
use flate2::write::GzEncoder;

const HEADER_BYTES: usize = 52;
const PROGRAM_HEADER_BYTES: usize = 32;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_RISCV: u16 = 0xf3;
/// Chip esp32c6, version 0x0104.
const VERSION_WORD: u32 = 0x000d_0104;

/// Builds the ELF of a dump in the order of ESP-IDF: a segment with the notes of the tasks
/// (`CORE`), the memory, a segment with all other notes.
#[derive(Debug, Clone)]
pub struct CoreBuilder {
    machine: u16,
    version_word: u32,
    padded_names: bool,
    build_id: Option<String>,
    notes: Vec<Note>,
    memory: Vec<(u32, Vec<u8>)>,
}

#[derive(Debug, Clone)]
struct Note {
    name: String,
    kind: u32,
    description: Vec<u8>,
}

impl Default for CoreBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl CoreBuilder {
    /// A RISC-V dump of build `64d3738c1`, whose notes have names as newer frameworks write them.
    pub fn new() -> Self {
        Self {
            machine: EM_RISCV,
            version_word: VERSION_WORD,
            padded_names: false,
            build_id: Some("64d3738c1".to_owned()),
            notes: Vec::new(),
            memory: Vec::new(),
        }
    }

    /// `e_machine`; 0x5e is Xtensa.
    #[must_use]
    pub fn machine(self, machine: u16) -> Self {
        Self { machine, ..self }
    }

    /// The chip and the version in the note `ESP_CORE_DUMP_INFO`.
    #[must_use]
    pub fn version(self, version: u16, chip_id: u16) -> Self {
        Self { version_word: u32::from(chip_id) << 16 | u32::from(version), ..self }
    }

    /// The text in the note `ESP_CORE_DUMP_INFO`.
    #[must_use]
    pub fn build_id(self, build_id: &str) -> Self {
        Self { build_id: Some(build_id.to_owned()), ..self }
    }

    /// Whether the sizes of names count the padding, as in older frameworks.
    #[must_use]
    pub fn padded_names(self, padded_names: bool) -> Self {
        Self { padded_names, ..self }
    }

    /// Omits the note `ESP_CORE_DUMP_INFO`.
    #[must_use]
    pub fn without_info(self) -> Self {
        Self { build_id: None, ..self }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, name: &str, kind: u32, description: &[u8]) -> Self {
        let description = description.to_vec();
        self.notes.push(Note { name: name.to_owned(), kind, description });
        self
    }

    /// Adds a region of memory.
    #[must_use]
    pub fn segment(mut self, address: u32, bytes: &[u8]) -> Self {
        self.memory.push((address, bytes.to_vec()));
        self
    }

    pub fn elf(&self) -> Vec<u8> {
        let (tasks, mut others): (Vec<_>, Vec<_>) =
            self.notes.iter().cloned().partition(|note| note.name == "CORE");
        others.splice(0..0, self.info());
        let notes =
            |notes: &[Note]| Segment { kind: PT_NOTE, address: 0, bytes: self.notes(notes) };
        let load = |(address, bytes): &(u32, Vec<u8>)| Segment {
            kind: PT_LOAD,
            address: *address,
            bytes: bytes.clone(),
        };
        let mut segments = vec![notes(&tasks)];
        segments.extend(self.memory.iter().map(load));
        segments.push(notes(&others));
        segments.retain(|segment| !segment.bytes.is_empty());
        assemble(self.machine, &segments)
    }

    fn info(&self) -> Option<Note> {
        let build_id = self.build_id.as_ref()?;
        let mut description = self.version_word.to_le_bytes().to_vec();
        description.extend(build_id.bytes());
        description.resize(72, 0);
        Some(Note { name: "ESP_CORE_DUMP_INFO".to_owned(), kind: 8266, description })
    }

    fn notes(&self, notes: &[Note]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for note in notes {
            let name = [note.name.as_bytes(), b"\0"].concat();
            let size = if self.padded_names { padded(&name).len() } else { name.len() };
            for word in [word(size), word(note.description.len()), note.kind] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(padded(&name));
            bytes.extend(padded(&note.description));
        }
        bytes
    }
}

pub(crate) fn word(length: usize) -> u32 {
    u32::try_from(length).expect("dumps of tests are small")
}

pub(crate) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

struct Segment {
    kind: u32,
    address: u32,
    bytes: Vec<u8>,
}

fn assemble(machine: u16, segments: &[Segment]) -> Vec<u8> {
    let number = u16::try_from(segments.len()).expect("dumps of tests are small");
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [4, machine, 1, 0, 0, 0, 52, 0, 0, 0, 0, 0, 52, 32, number, 0, 0, 0] {
        elf.extend(u16::to_le_bytes(half));
    }
    let mut offset = HEADER_BYTES + PROGRAM_HEADER_BYTES * segments.len();
    for Segment { kind, address, bytes } in segments {
        let length = word(bytes.len());
        for field in [*kind, word(offset), *address, *address, length, length, 6, 0] {
            elf.extend(field.to_le_bytes());
        }
        offset += bytes.len();
    }
    elf.extend(segments.iter().flat_map(|segment| &segment.bytes));
    elf
}

/// A raw image of one of the versions of contract §6.6, with a correct checksum; the header words
/// after length and version are 0.
pub fn raw(version: u16, chip_id: u16, content: &[u8]) -> Vec<u8> {
    raw_with_words(version, chip_id, &[], content)
}

/// A raw image with header words after length and version; missing words are 0.
pub fn raw_with_words(version: u16, chip_id: u16, words: &[u32], content: &[u8]) -> Vec<u8> {
    let (header, checksum) = match version {
        0x0001 => (16, 4),
        0x0002 | 0x0100 => (20, 4),
        0x0003 | 0x0102 => (24, 4),
        0x0101 => (20, 32),
        0x0103 => (24, 32),
        0x0104 => (12, 32),
        other => panic!("expected the version of a raw image, found {other:#06x}"),
    };
    let length = word(header + content.len() + checksum);
    let mut image = length.to_le_bytes().to_vec();
    image.extend(version.to_le_bytes());
    image.extend(chip_id.to_le_bytes());
    image.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let count = words.len();
    assert!(image.len() <= header, "the header of {version:#06x} has no room for {count} words");
    image.resize(header, 0);
    image.extend(content);
    if checksum == 4 {
        image.extend(crc32fast::hash(&image).to_le_bytes());
    } else {
        image.extend(Sha256Digest::of(&image).bytes());
    }
    image
}

/// The console text of a body, `line_len` bytes of it on each line.
pub fn base64_console(body: &[u8], line_len: usize) -> Vec<u8> {
    let mut text = b"================= CORE DUMP START =================\r\n".to_vec();
    for line in body.chunks(line_len) {
        text.extend(STANDARD.encode(line).bytes());
        text.extend(b"\r\n");
    }
    text.extend(b"================= CORE DUMP END =================\r\n");
    text
}

/// The body as a gzip file.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("writing to memory cannot fail")
}

/// The ELF without its first 12 or 4 bytes and with `tail` appended, as a device sends it which
/// assumes the wrong header (contract §4.7).
pub fn strip(elf: &[u8], missing: usize, tail: &[u8]) -> Vec<u8> {
    assert!(matches!(missing, 4 | 12), "expected 4 or 12 missing bytes, found {missing}");
    [&elf[missing..], tail].concat()
}
