//! The build id of a body (contract §6.6, §6.7), and bodies which try to make the search long.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use coredock_domain::coredumps::body::build_id;
use coredock_testkit::coredumps::{CoreBuilder, base64_console, gzip, raw, strip};

const BUILD: &str = "64d3738c1";
const ELF_VERSIONS: [u16; 5] = [0x0100, 0x0101, 0x0102, 0x0103, 0x0104];
const KIB_64: usize = 64 * 1024;
/// Offsets in the ELF header.
const TYPE: usize = 16;
const PH_OFFSET: usize = 28;
const PH_ENTRY: usize = 42;
const PH_NUMBER: usize = 44;

fn build_of(body: &[u8]) -> Option<String> {
    build_id(&mut Cursor::new(body)).map(|build| build.as_str().to_owned())
}

#[track_caller]
fn assert_build(body: &[u8]) {
    assert_eq!(build_of(body).as_deref(), Some(BUILD));
}

#[track_caller]
fn assert_no_build(body: &[u8]) {
    assert_eq!(build_of(body), None);
}

fn elf() -> Vec<u8> {
    CoreBuilder::new().note("CORE", 1, &[1; 204]).segment(0x4080_0000, &[2; 333]).elf()
}

/// The bytes of one note.
fn note(name: &str, kind: u32, description: &[u8]) -> Vec<u8> {
    CoreBuilder::new().without_info().note(name, kind, description).elf().split_off(84)
}

fn info() -> Vec<u8> {
    CoreBuilder::new().elf().split_off(84)
}

/// A segment of notes somewhere in the file.
fn note_header(offset: usize, length: usize) -> [u32; 8] {
    let word = |value| u32::try_from(value).unwrap();
    [4, word(offset), 0, 0, word(length), 0, 6, 0]
}

/// An ELF with these program headers, followed by this content.
fn elf_of(headers: &[[u32; 8]], content: &[u8]) -> Vec<u8> {
    let mut elf = CoreBuilder::new().without_info().elf();
    let number = u16::try_from(headers.len()).unwrap();
    elf[PH_NUMBER..PH_NUMBER + 2].copy_from_slice(&number.to_le_bytes());
    elf.extend(headers.iter().flatten().flat_map(|word| word.to_le_bytes()));
    elf.extend(content);
    elf
}

/// An ELF with these segments, one after the other.
fn elf_of_segments(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut offset = 52 + 32 * segments.len();
    let headers: Vec<_> = segments
        .iter()
        .map(|segment| {
            let header = note_header(offset, segment.len());
            offset += segment.len();
            header
        })
        .collect();
    elf_of(&headers, &segments.concat())
}

fn patched<const N: usize>(body: &[u8], at: usize, value: [u8; N]) -> Vec<u8> {
    let mut body = body.to_vec();
    body[at..at + N].copy_from_slice(&value);
    body
}

#[test]
fn the_build_id_is_found_in_every_framing_and_with_padded_names() {
    for padded in [false, true] {
        let elf = CoreBuilder::new().padded_names(padded).note("CORE", 1, &[1; 204]).elf();
        assert_build(&elf);
        for version in ELF_VERSIONS {
            assert_build(&raw(version, 13, &elf));
        }
        for missing in [4, 12] {
            assert_build(&strip(&elf, missing, &[0; 28]));
        }
    }
}

#[test]
fn build_ids_of_8_to_64_digits_are_found() {
    let digits = "0123456789ABCDEFfedcba98765432100123456789abcdeffedcba9876543210";
    for length in 8..=64 {
        let elf = CoreBuilder::new().build_id(&digits[..length]).elf();
        assert_eq!(build_of(&elf), Some(digits[..length].to_ascii_lowercase()));
    }
    for invalid in ["", "1234567", "64d3738cx", "build 12345"] {
        assert_no_build(&CoreBuilder::new().build_id(invalid).elf());
    }
}

#[test]
fn a_dump_without_notes_or_without_that_note_has_no_build_id() {
    assert_no_build(&CoreBuilder::new().without_info().elf());
    assert_no_build(&CoreBuilder::new().without_info().segment(0, &[0; 100]).elf());
    let core = CoreBuilder::new().without_info().note("CORE", 1, &[0; 204]);
    let other_notes =
        core.note("ESP_CHIP_REV", 8266, &[1; 72]).note("ESP_EXTRA_INFO", 677, &[1; 72]);
    assert_no_build(&other_notes.elf());
}

#[test]
fn a_body_that_is_wrapped_or_has_no_elf_has_no_build_id() {
    assert_no_build(&gzip(&elf()));
    assert_no_build(&base64_console(&elf(), 48));
    for version in [0x0001, 0x0002, 0x0003] {
        assert_no_build(&raw(version, 13, &elf()));
    }
    for body in [&b""[..], &[0; 4096], b"text", b"\x7fELF", &elf()[..51]] {
        assert_no_build(body);
    }
}

#[test]
fn the_note_is_found_in_the_last_of_several_segments() {
    let tasks = note("CORE", 1, &[0; 588]);
    assert_build(&elf_of_segments(&[
        tasks.clone(),
        vec![],
        vec![0xff; 40],
        tasks.repeat(3),
        info(),
    ]));
    assert_build(&elf_of_segments(&[[tasks, info()].concat()]));
}

#[test]
fn the_first_note_with_a_build_id_counts() {
    let useless = note("ESP_CORE_DUMP_INFO", 8266, b"\0\0\0\0");
    let later = CoreBuilder::new().build_id("ffffffffff").elf().split_off(84);
    assert_build(&elf_of_segments(&[useless, info(), later]));
}

#[test]
fn a_build_id_behind_the_content_of_a_raw_image_is_not_found() {
    let image = raw(0x0102, 13, &elf());
    let whole = u32::try_from(image.len()).unwrap();
    assert_build(&patched(&image, 0, (whole + 4096).to_le_bytes()));
    assert_no_build(&patched(&image, 0, (whole - 40).to_le_bytes()));
    assert_build(&patched(&image, 0, 3_u32.to_le_bytes()));
}

#[test]
fn a_dump_cut_before_the_end_of_the_note_has_no_build_id() {
    for body in [elf(), raw(0x0104, 13, &elf()), strip(&elf(), 12, &[])] {
        for length in 0..body.len() {
            let found = build_of(&body[..length]);
            let ends_in_checksum = length >= body.len() - 32;
            assert!(found.is_none() || (ends_in_checksum && found.as_deref() == Some(BUILD)));
        }
    }
}

#[test]
fn files_with_other_headers_have_no_build_id() {
    for (at, value) in [(4, [2, 1]), (4, [1, 2]), (TYPE, [2, 0]), (PH_ENTRY, [0, 0])] {
        assert_no_build(&patched(&elf(), at, value));
    }
    for entry in [31_u16, 33, 64, u16::MAX] {
        assert_no_build(&patched(&elf(), PH_ENTRY, entry.to_le_bytes()));
    }
    for number in [0_u16, 1] {
        assert_no_build(&patched(&elf(), PH_NUMBER, number.to_le_bytes()));
    }
}

#[test]
fn program_headers_are_read_as_far_as_they_go() {
    assert_build(&patched(&elf(), PH_NUMBER, u16::MAX.to_le_bytes()));
    let length = u32::try_from(elf().len()).unwrap();
    for offset in [0, 1, 51, length - 1, length, 1 << 31, u32::MAX - 31, u32::MAX] {
        assert_no_build(&patched(&elf(), PH_OFFSET, offset.to_le_bytes()));
        let body = strip(&patched(&elf(), PH_OFFSET, offset.to_le_bytes()), 12, &[]);
        assert_no_build(&body);
    }
}

#[test]
fn of_the_program_headers_the_first_4096_count() {
    for (before, is_found) in [(4095, true), (4096, false), (9999, false)] {
        let offset = 52 + 32 * (before + 1);
        let mut headers = vec![[1, 0, 0, 0, u32::MAX, 0, 6, 0]; before];
        headers.push(note_header(offset, info().len()));
        let body = elf_of(&headers, &info());
        assert_eq!(build_of(&body).is_some(), is_found, "{before}");
        assert_eq!(build_of(&raw(0x0104, 13, &body)).is_some(), is_found, "{before}");
    }
}

#[test]
fn of_a_segment_the_first_64_kib_count() {
    for (size, is_found) in [(KIB_64 - info().len(), true), (KIB_64 - info().len() + 4, false)] {
        let filler = note("CORE", 1, &vec![0; size - 20]);
        assert_eq!(filler.len(), size);
        let body = elf_of_segments(&[[filler, info()].concat()]);
        assert_eq!(build_of(&body).is_some(), is_found, "{size}");
    }
}

#[test]
fn of_all_segments_the_first_mebibyte_counts() {
    let filler = note("CORE", 1, &vec![0; KIB_64 - 20]);
    for (before, is_found) in [(15, true), (16, false)] {
        let mut segments = vec![filler.clone(); before];
        segments.push(info());
        assert_eq!(build_of(&elf_of_segments(&segments)).is_some(), is_found, "{before}");
    }
}

#[test]
fn of_the_notes_the_first_10_000_count() {
    for (before, is_found) in [(9_999, true), (10_000, false)] {
        let (first, second) = (vec![0; 12 * 5000], vec![0; 12 * (before - 5000)]);
        let body = elf_of_segments(&[first, second, info()]);
        assert_eq!(build_of(&body).is_some(), is_found, "{before}");
    }
}

#[test]
fn offsets_and_sizes_at_the_end_of_the_address_space_are_skipped() {
    let huge = [u32::MAX, u32::MAX - 3, 1 << 31, 0xffff_fff0];
    let wild =
        huge.into_iter().flat_map(|offset| huge.map(|length| [4, offset, 0, 0, length, 0, 6, 0]));
    let mut headers: Vec<_> = wild.collect();
    headers.extend(huge.map(|length| [4, 0, 0, 0, length, 0, 6, 0]));
    let offset = 52 + 32 * (headers.len() + 1);
    headers.push(note_header(offset, info().len()));
    let body = elf_of(&headers, &info());
    assert_build(&body);
    for version in ELF_VERSIONS {
        assert_build(&raw(version, 13, &body));
    }
    assert_build(&strip(&body, 4, &[]));
}

/// Counts what is read of a body.
struct Watched<'a> {
    body: Cursor<&'a [u8]>,
    read: usize,
    calls: usize,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.read += read;
        self.calls += 1;
        Ok(read)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.body.seek(to)
    }
}

#[test]
fn segments_that_overlap_each_other_and_the_headers_cost_no_more_than_the_limits() {
    let headers = vec![[4, 0, 0, 0, u32::MAX, 0, 6, 0]; 65_535];
    let body = elf_of(&headers, &vec![0; 4 << 20]);
    let mut watched = Watched { body: Cursor::new(&body), read: 0, calls: 0 };
    assert!(build_id(&mut watched).is_none());
    assert!(watched.read <= 2 << 20, "{} bytes", watched.read);
    assert!(watched.calls <= 20_000, "{} calls", watched.calls);
}

/// A body whose reads fail from a position on.
struct Failing<'a> {
    body: Cursor<&'a [u8]>,
    from: u64,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.body.position() >= self.from {
            return Err(io::Error::other("the disk failed"));
        }
        self.body.read(buffer)
    }
}

impl Seek for Failing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.body.seek(to)
    }
}

#[test]
fn a_body_that_cannot_be_read_has_no_build_id() {
    let body = elf();
    for from in [0, 16, 52, 84, 200, 400] {
        let mut failing = Failing { body: Cursor::new(&body), from };
        assert!(build_id(&mut failing).is_none(), "{from}");
    }
    let end = body.len() as u64;
    assert!(build_id(&mut Failing { body: Cursor::new(&body), from: end }).is_some());
}
