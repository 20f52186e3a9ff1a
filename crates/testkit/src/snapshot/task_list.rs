//! The content of the oldest raw images: a list of tasks and memory instead of an ELF.

use super::Snapshot;
use crate::coredumps::{padded, word};

/// Number of tasks and size of a control block; later versions add number of regions and revision.
pub(super) fn header_words(snapshot: &Snapshot, version: u16) -> Vec<u32> {
    let tcb_bytes = snapshot.tasks.first().map_or(0, |task| task.tcb.1.len());
    let regions = word(snapshot.memory.len());
    let mut words =
        vec![word(snapshot.tasks.len()), word(tcb_bytes), regions, snapshot.chip_revision];
    words.truncate(usize::from(version) + 1);
    words
}

pub(super) fn of(snapshot: &Snapshot, version: u16) -> Vec<u8> {
    let mut content = Vec::new();
    for task in &snapshot.tasks {
        let (top, stack) = task.framed_stack();
        let end = top.wrapping_add(word(stack.len()));
        content.extend([task.tcb.0, top, end].iter().flat_map(|word| word.to_le_bytes()));
        content.extend(padded(&task.tcb.1));
        content.extend(padded(&stack));
    }
    // The oldest version contains only the memory of tasks.
    let regions = if version == 0x0001 { &[] } else { snapshot.memory.as_slice() };
    for (address, bytes) in regions {
        content.extend([*address, word(bytes.len())].iter().flat_map(|word| word.to_le_bytes()));
        content.extend(padded(bytes));
    }
    content
}
