//! A damaged index: decoding ends with a report or an error, in bounded time.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Os/firmware.elf");
const DUMP: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Os/0.dmp");

static INDEX: LazyLock<Vec<u8>> =
    LazyLock::new(|| build_index(ELF, Sha256Digest::of(ELF)).expect("the fixture has an index"));

// Each change has three bytes of place and one byte of value.
fuzz_target!(|changes: &[u8]| {
    let mut index = INDEX.clone();
    for &[low, middle, high, value] in changes.as_chunks().0 {
        let at = u32::from_le_bytes([low, middle, high, 0]);
        let place = usize::try_from(at).unwrap_or_default() % index.len();
        index[place] = value;
    }
    if let Ok(index) = Index::open(index.into()) {
        let _ = decode(&Bytes::from_static(DUMP), Some(&Firmware::of_index(index)));
    }
});
