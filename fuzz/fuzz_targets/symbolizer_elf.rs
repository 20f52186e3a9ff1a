//! Any bytes as an ELF, for a dump that does not tell its build: read on demand and as an index.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};
use libfuzzer_sys::fuzz_target;

const DUMP: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/O2/0.dmp");
const BUILD_NOTE: &[u8] = b"ESP_CORE_DUMP_INFO";

/// Under another name nobody knows the note.
static UNTOLD: LazyLock<Bytes> = LazyLock::new(|| {
    let mut dump = DUMP.to_vec();
    let at = DUMP.windows(BUILD_NOTE.len()).position(|part| part == BUILD_NOTE);
    dump[at.expect("the fixture tells its build")] = b'X';
    dump.into()
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(firmware) = Firmware::of_elf(bytes) {
        let _ = decode(&UNTOLD, Some(&firmware));
    }
    if let Ok(index) = build_index(bytes, Sha256Digest::of(b"")) {
        let index = Index::open(index.into()).expect("what was made can be opened");
        let _ = decode(&UNTOLD, Some(&Firmware::of_index(index)));
    }
});
