//! ELFs that no compiler writes are refused or read, without a panic, a hang or huge results.

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{ElfError, Firmware, build_index, decode};
use coredock_testkit::coredumps::CoreBuilder;

use crate::elf_builder::{ElfBuilder, abbreviations, nested, range_list, sharing, unit};

fn with_children(code_bytes: u32, children: &[u8]) -> ElfBuilder {
    ElfBuilder::new(usize::try_from(code_bytes).unwrap())
        .section(".debug_abbrev", abbreviations())
        .section(".debug_info", unit(code_bytes, children))
}

fn index(elf: &[u8]) -> Result<Vec<u8>, ElfError> {
    build_index(elf, Sha256Digest::of(elf))
}

#[test]
fn calls_inlined_into_each_other_without_end_are_refused() {
    assert!(index(&with_children(64, &nested(200, 64)).build()).is_ok());
    for depth in [300, 6_000, 1_000_000] {
        let refused = index(&with_children(64, &nested(depth, 64)).build());
        let expected = ElfError::Excessive("entries nested deeper than 256");
        assert_eq!(refused.unwrap_err(), expected, "{depth}");
    }
}

#[test]
fn a_range_list_that_many_share_is_refused() {
    let elf = |calls, ranges| {
        let code_bytes = 4 * ranges;
        let ranges = range_list(ranges);
        with_children(code_bytes, &sharing(calls)).section(".debug_ranges", ranges).build()
    };
    assert!(index(&elf(50, 200)).is_ok());
    let hostile = elf(5_000, 20_000);
    assert!(hostile.len() < 300_000);
    assert_eq!(index(&hostile).unwrap_err(), ElfError::Excessive("more than 2 million ranges"));
}

#[test]
fn files_that_are_not_firmware_are_refused_with_the_reason() {
    let plain = || ElfBuilder::new(16);
    assert!(matches!(Firmware::of_elf(b""), Err(ElfError::Unreadable(_))));
    assert!(matches!(Firmware::of_elf(b"#!/bin/sh\n"), Err(ElfError::Unreadable(_))));
    let refused = |elf: &[u8]| Firmware::of_elf(elf).err();
    assert_eq!(refused(&plain().machine(40).build()), Some(ElfError::Machine(40)));
    assert_eq!(refused(&plain().kind(4).build()), Some(ElfError::NotExecutable));
    assert!(Firmware::of_elf(&plain().build()).is_ok());
}

#[test]
fn a_name_that_many_sections_share_is_left_out() {
    let mut elf = ElfBuilder::new(16);
    for _ in 0..200 {
        elf = elf.loaded_section(&"n".repeat(10_000), vec![0; 4]);
    }
    let elf = elf.build();
    let firmware = Firmware::of_elf(&elf).unwrap();
    let report = decode(&without_build(), Some(&firmware)).unwrap();
    assert!(report.text().len() < 100_000);
    assert!(index(&elf).unwrap().len() < 100_000);
}

/// A dump without a build id.
fn without_build() -> Bytes {
    CoreBuilder::new().without_info().note("CORE", 1, &[0; 204]).elf().into()
}

#[test]
fn damage_anywhere_is_survived() {
    let whole = with_children(64, &nested(3, 32)).build();
    for cut in 0..whole.len() {
        let _ = index(&whole[..cut]);
        let mut flipped = whole.clone();
        for bit in [0x01, 0x80] {
            flipped[cut] ^= bit;
            let _ = index(&flipped);
        }
    }
}
