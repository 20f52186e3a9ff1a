//! A dump whose stack and registers are the input: the unwinder at work.

#![no_main]

use bytes::Bytes;
use coredock_symbolizer::{Firmware, decode};
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Og/firmware.elf");
const DUMP: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Og/0.dmp");
/// 128 physical frames, each with 64 inlined calls at most.
const MOST_FRAMES: usize = 128 * 64;

// Two bytes of place, four of value: words of the dump are overwritten.
fuzz_target!(|changes: &[u8]| {
    let mut dump = DUMP.to_vec();
    for change in changes.as_chunks::<6>().0 {
        let words = dump.as_chunks_mut::<4>().0;
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % words.len();
        words[place].copy_from_slice(&change[2..]);
    }
    let firmware = Firmware::of_elf(ELF).expect("the fixture is a firmware");
    if let Ok(report) = decode(&Bytes::from(dump), Some(&firmware)) {
        assert!(report.tasks.iter().all(|task| task.frames.len() <= MOST_FRAMES));
    }
});
