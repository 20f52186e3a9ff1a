//! Any bytes as a dump: decoded with a firmware, its index and without either. Both ways to a
//! firmware give the same report.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/O2/firmware.elf");
const LONGEST_REPORT: usize = 1 << 20;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let index = build_index(ELF, Sha256Digest::of(ELF)).expect("the fixture has an index");
    Index::open(index.into()).expect("the index can be opened")
});

fuzz_target!(|bytes: &[u8]| {
    let dump = Bytes::copy_from_slice(bytes);
    let _ = decode(&dump, None);
    let by_elf = decode(&dump, Some(&Firmware::of_elf(ELF).expect("the fixture is a firmware")));
    let by_index = decode(&dump, Some(&Firmware::of_index(INDEX.clone())));
    assert_eq!(by_elf, by_index);
    if let Ok(report) = by_elf {
        assert!(report.text().len() <= LONGEST_REPORT);
        let _ = report.structured().to_string();
    }
});
