//! A dump whose stack and registers are the input of the unwinder.

use bytes::Bytes;
use coredock_symbolizer::{Firmware, decode};

/// 128 physical frames, each with 64 inlined calls at most.
const MAX_FRAMES: usize = 128 * 64;

/// Overwrites words of the dump: each change has two bytes of place and four bytes of value.
pub fn unwind(elf: &[u8], dump: &[u8], changes: &[u8]) {
    let mut dump = dump.to_vec();
    for change in changes.as_chunks::<6>().0 {
        let words = dump.as_chunks_mut::<4>().0;
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % words.len();
        words[place].copy_from_slice(&change[2..]);
    }
    let firmware = Firmware::of_elf(elf).expect("the fixture is a firmware");
    if let Ok(report) = decode(&Bytes::from(dump), Some(&firmware)) {
        assert!(report.tasks.iter().all(|task| task.frames.len() <= MAX_FRAMES));
    }
}
