//! Dumps in the form of a binary list of tasks (format versions 1 to 3).

use coredock_domain::chip::{Architecture, KnownChip};
use coredock_domain::coredumps::body::{Container, RawParts};

use super::registers::MachineState;
use super::saved_context::context;
use super::{Crashed, Dump, MAX_TASKS, Memory, Segment, Task};
use crate::words::u32_at;

const MAX_SEGMENTS: u32 = 4096;
/// Major version times 100, plus minor version, in the formats that contain it.
pub(super) fn chip_revision(parts: &RawParts<'_>) -> Option<u32> {
    match parts.version {
        0x0003 | 0x0102 | 0x0103 => u32_at(parts.fields, 12),
        0x0104 => u32_at(parts.fields, 0),
        _ => None,
    }
}

/// Reads the tasks that are complete.
pub(super) fn read<'a>(parts: &RawParts<'a>) -> Dump<'a> {
    let chip = KnownChip::of_id(parts.chip_id);
    let architecture = chip.map_or(Architecture::RiscV, KnownChip::architecture);
    let field = |index: usize| u32_at(parts.fields, 4 * index).unwrap_or_default();
    let (count, tcb_size, segment_count) =
        (field(0), field(1), if parts.version == 0x0001 { 0 } else { field(2) });
    let mut rest = Rest(parts.content);
    let mut list = TaskList::default();
    let mut missing = false;
    for _ in 0..count {
        let whole = rest.task(tcb_size, architecture, &mut list).is_some();
        if !whole || list.tasks.len() >= MAX_TASKS {
            missing = true;
            break;
        }
    }
    for _ in 0..segment_count.min(MAX_SEGMENTS) {
        let Some(segment) = rest.segment() else {
            missing = true;
            break;
        };
        list.segments.push(segment);
    }
    Dump {
        container: Container::Raw,
        salvaged: missing,
        architecture,
        chip: chip.map(KnownChip::name),
        chip_revision: None,
        build_id: None,
        tasks: list.tasks,
        crashed: Crashed::First,
        in_interrupt: None,
        panic_details: None,
        machine_state: list.machine_state,
        memory: Memory::new(list.segments),
    }
}

#[derive(Default)]
struct TaskList<'a> {
    tasks: Vec<Task>,
    segments: Vec<Segment<'a>>,
    /// Of the first task.
    machine_state: Option<MachineState>,
}

/// The bytes that are not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn word(&mut self) -> Option<u32> {
        self.bytes(4).and_then(|word| u32_at(word, 0))
    }

    fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn task(
        &mut self,
        tcb_size: u32,
        architecture: Architecture,
        list: &mut TaskList<'a>,
    ) -> Option<()> {
        let (tcb, top, end) = (self.word()?, self.word()?, self.word()?);
        let block = self.bytes(tcb_size.checked_next_multiple_of(4)?)?;
        let stack = self.bytes(end.abs_diff(top).checked_next_multiple_of(4)?)?;
        let (registers, state) = context(stack, top.min(end), architecture)?;
        if list.tasks.is_empty() {
            list.machine_state = state;
        }
        list.tasks.push(Task { tcb, registers });
        list.segments.push(Segment { start: tcb, bytes: block });
        list.segments.push(Segment { start: top.min(end), bytes: stack });
        Some(())
    }

    fn segment(&mut self) -> Option<Segment<'a>> {
        let (start, length) = (self.word()?, self.word()?);
        Some(Segment { start, bytes: self.bytes(length)? })
    }
}
