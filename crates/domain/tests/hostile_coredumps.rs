//! Arbitrary bodies of devices: they cause no panic, and a body which cannot be read is not changed.

use std::io::Cursor;

use bytes::Bytes;
use coredock_domain::coredumps::body::{Container, Unwrapped, build_id, unwrap};
use coredock_testkit::coredumps::{CoreBuilder, base64_console, gzip, raw, strip};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const VERSIONS: [u16; 8] = [0x0001, 0x0002, 0x0003, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104];
const CHIPS: [u16; 13] = [0, 2, 5, 9, 12, 13, 16, 18, 20, 23, 25, 28, 32];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn build_of(body: &[u8]) -> Option<String> {
    build_id(&mut Cursor::new(body)).map(|build| build.as_str().to_owned())
}

/// The properties which hold for all bytes.
fn assert_harmless(body: Vec<u8>) {
    let build = build_of(&body);
    let body = Bytes::from(body);
    let read = unwrap(&body);
    if !read.container.is_dump() {
        assert_eq!((read.salvaged, &read.bytes), (false, &body));
    } else if ![&body, &read.bytes].iter().any(|bytes| bytes.starts_with(&[0x1f, 0x8b])) {
        let again = unwrap(&read.bytes);
        let container = match read.container {
            Container::StrippedElf => Container::Elf,
            other => other,
        };
        assert_eq!((again.container, &again.bytes), (container, &read.bytes));
        // The build id, if there is one, is the same with and without unwrapping.
        assert!(build.is_none() || build == build_of(&read.bytes));
    }
}

prop_compose! {
    fn elf()(
        padded in any::<bool>(),
        build in "[0-9a-f]{0,64}",
        task in vec(any::<u8>(), 0..600),
        memory in vec(any::<u8>(), 0..300),
        panic in "[ -~]{0,40}",
    ) -> Vec<u8> {
        let core = CoreBuilder::new().padded_names(padded).build_id(&build).note("CORE", 1, &task);
        core.segment(0x3fc8_0000, &memory).note("ESP_PANIC_DETAILS", 679, panic.as_bytes()).elf()
    }
}

fn bare() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        elf(),
        (select(&VERSIONS), select(&CHIPS), elf())
            .prop_map(|(version, chip, elf)| raw(version, chip, &elf)),
        (select(&[4, 12]), vec(any::<u8>(), 0..=28), elf())
            .prop_map(|(missing, tail, elf)| strip(&elf, missing, &tail)),
    ]
}

#[derive(Debug, Clone)]
enum Wrapping {
    Gzip,
    Console(usize),
}

fn wrappings(max: usize) -> impl Strategy<Value = Vec<Wrapping>> {
    let one = prop_oneof![Just(Wrapping::Gzip), (1..100_usize).prop_map(Wrapping::Console)];
    vec(one, 0..=max)
}

fn wrap(body: &[u8], wrappings: &[Wrapping]) -> Vec<u8> {
    wrappings.iter().fold(body.to_vec(), |body, wrapping| match wrapping {
        Wrapping::Gzip => gzip(&body),
        Wrapping::Console(line_len) => base64_console(&body, *line_len),
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_bytes_are_harmless(body in vec(any::<u8>(), 0..400)) {
        let read = unwrap(&Bytes::copy_from_slice(&body));
        prop_assert_eq!(read.container, Container::Unknown);
        assert_harmless(body);
    }

    #[test]
    fn any_bytes_behind_a_known_start_are_harmless(
        start in select(vec![
            b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\xf3\0".to_vec(),
            b"\0\0\0\0\x04\0\x5e\0".to_vec(),
            b"\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\xf3\0".to_vec(),
            b"\xff\0\0\0\x04\x01\x0d\0\0\0\0\0\x7fELF\x01\x01".to_vec(),
            b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec(),
            b"CORE DUMP START\n".to_vec(),
        ]),
        rest in vec(any::<u8>(), 0..400),
    ) {
        assert_harmless([start, rest].concat());
    }

    #[test]
    fn any_text_is_harmless(text in "[A-Za-z0-9+/=\r\n\u{1b} ]{0,300}(CORE DUMP START)?(.|\n){0,50}") {
        assert_harmless(text.into_bytes());
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn damaged_dumps_are_harmless(
        body in bare(),
        wrappings in wrappings(3),
        damage in vec((any::<Index>(), select(vec![0, 1, 0x20, 0x7f, 0x80, 0xfc, 0xff])), 0..8),
        cut in any::<Index>(),
    ) {
        let mut inner = body;
        for (at, byte) in &damage {
            let at = at.index(inner.len());
            inner[at] = *byte;
        }
        let mut outer = wrap(&inner, &wrappings);
        assert_harmless(outer.clone());
        for (at, byte) in damage {
            let at = at.index(outer.len());
            outer[at] = byte;
        }
        outer.truncate(cut.index(outer.len()));
        assert_harmless(outer);
    }

    #[test]
    fn up_to_two_wrappings_are_removed_without_a_trace(
        body in bare(),
        wrappings in wrappings(2),
    ) {
        let plain = unwrap(&Bytes::copy_from_slice(&body));
        prop_assert!(plain.container.is_dump());
        prop_assert_eq!(unwrap(&Bytes::from(wrap(&body, &wrappings))), plain);
    }

    #[test]
    fn raw_images_are_found_with_any_trailing_bytes(
        version in select(&VERSIONS),
        chip in select(&CHIPS),
        content in vec(any::<u8>(), 0..300),
        filler in vec(any::<u8>(), 0..100),
    ) {
        let image = raw(version, chip, &content);
        let read = unwrap(&Bytes::from([&image[..], &filler].concat()));
        let bytes = Bytes::from(image);
        prop_assert_eq!(read, Unwrapped { container: Container::Raw, salvaged: false, bytes });
    }
}
