//! Any bytes as an ELF, for a dump that does not tell its build: read on demand and as an index.

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

static UNTOLD_RISCV: LazyLock<Bytes> = LazyLock::new(|| untold(RISCV));
static UNTOLD_XTENSA: LazyLock<Bytes> = LazyLock::new(|| untold(XTENSA));

/// Under another name nobody knows the note.
fn untold(dump: &[u8]) -> Bytes {
    let at = dump.windows(BUILD_NOTE.len()).position(|part| part == BUILD_NOTE);
    let mut dump = dump.to_vec();
    dump[at.expect("the fixture tells its build")] = b'X';
    dump.into()
}

fn decode_with(firmware: &Firmware<'_>) {
    let dump = match firmware.architecture() {
        Architecture::RiscV => &UNTOLD_RISCV,
        Architecture::Xtensa => &UNTOLD_XTENSA,
    };
    let _ = decode(dump, Some(firmware));
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(firmware) = Firmware::of_elf(bytes) {
        decode_with(&firmware);
    }
    if let Ok(index) = build_index(bytes, Sha256Digest::of(b"")) {
        let index = Index::open(index.into()).expect("what was made can be opened");
        decode_with(&Firmware::of_index(index));
    }
});
