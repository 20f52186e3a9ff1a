//! Any bytes as an ELF, for a dump without a build id: read on demand and as an index.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use coredock_domain::chip::Architecture;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};
use libfuzzer_sys::fuzz_target;

const RISCV: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/O2/0.dmp");
const XTENSA: &[u8] = include_bytes!("../../crates/testkit/fixtures/xtensa/O2/0.dmp");
const BUILD_NOTE: &[u8] = b"ESP_CORE_DUMP_INFO";

static RISCV_WITHOUT_BUILD_ID: LazyLock<Bytes> = LazyLock::new(|| without_build_id(RISCV));
static XTENSA_WITHOUT_BUILD_ID: LazyLock<Bytes> = LazyLock::new(|| without_build_id(XTENSA));

/// Renames the note with the build id, so that no decoder finds it.
fn without_build_id(dump: &[u8]) -> Bytes {
    let at = dump.windows(BUILD_NOTE.len()).position(|part| part == BUILD_NOTE);
    let mut dump = dump.to_vec();
    dump[at.expect("the fixture has a build id")] = b'X';
    dump.into()
}

fn decode_with(firmware: &Firmware<'_>) {
    let dump = match firmware.architecture() {
        Architecture::RiscV => &RISCV_WITHOUT_BUILD_ID,
        Architecture::Xtensa => &XTENSA_WITHOUT_BUILD_ID,
    };
    let _ = decode(dump, Some(firmware));
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(firmware) = Firmware::of_elf(bytes) {
        decode_with(&firmware);
    }
    if let Ok(index) = build_index(bytes, Sha256Digest::of(b"")) {
        let index = Index::open(index.into()).expect("a new index can be opened");
        decode_with(&Firmware::of_index(index));
    }
});
