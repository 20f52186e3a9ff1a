//! ELF cores.

use coredock_domain::chip::{Architecture, KnownChip};
use coredock_domain::coredumps::body::{Container, Note, Notes};

use super::registers::{MachineState, Registers};
use super::{Crashed, Dump, DumpError, MAX_TASKS, Memory, Segment, Task};
use crate::elf::architecture_of_machine;
use crate::words::{u16_at, u32_at};

const IDENT: [u8; 6] = *b"\x7fELF\x01\x01";
const ET_CORE: u16 = 4;
const PROGRAM_HEADER_BYTES: usize = 32;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const MAX_SEGMENTS: usize = 4096;
const MAX_NOTES: usize = 1024;

/// Names and types of notes (ESP-IDF `core_dump_elf.c`).
const TASK: (&[u8], u32) = (b"CORE", 1);
const EXTRA: u32 = 677;
const PANIC_DETAILS: u32 = 679;
const INFO: u32 = 8266;
const INFO_NAME: &[u8] = b"ESP_CORE_DUMP_INFO";
/// The vendor's tool adds a note of this name.
const REVISION_NAME: &[u8] = b"ESP_CHIP_REV";

/// Replaces the address of the control block of a task that was unusable.
const UNUSABLE: u32 = 0xDEAD_BEEF;
/// Offset of the flag in the extra note of Xtensa which is set if an interrupt handler ran; older
/// frameworks do not write it.
const XTENSA_INTERRUPT_FLAG: usize = 148;
/// Pairs after those of cause and address.
const MAX_SPECIAL: usize = 16;

pub(super) fn read(elf: &[u8]) -> Result<Dump<'_>, DumpError> {
    if !elf.starts_with(&IDENT) || u16_at(elf, 16) != Some(ET_CORE) {
        return Err(DumpError::NotACore);
    }
    let machine = u16_at(elf, 18).unwrap_or_default();
    let Some(architecture) = architecture_of_machine(machine) else {
        return Err(DumpError::Machine(machine));
    };
    let mut segments = ProgramHeaders::of(elf)?;
    let notes: Vec<Note<'_>> = segments
        .all
        .iter()
        .filter(|header| header.kind == PT_NOTE)
        .flat_map(|header| Notes::of(header.bytes))
        .take(MAX_NOTES)
        .collect();
    let loaded = segments.all.iter().filter(|header| header.kind == PT_LOAD);
    let memory =
        Memory::new(loaded.map(|header| Segment { start: header.address, bytes: header.bytes }));
    let mut dump = Dump {
        container: Container::Elf,
        salvaged: std::mem::take(&mut segments.cut),
        architecture,
        chip: None,
        chip_revision: None,
        build_id: notes.iter().find_map(Note::build_id),
        tasks: Vec::new(),
        crashed: Crashed::First,
        in_interrupt: None,
        panic_details: None,
        machine_state: None,
        memory,
    };
    for note in &notes {
        dump.read_note(note);
    }
    dump.find_riscv_state();
    Ok(dump)
}

impl<'a> Dump<'a> {
    fn read_note(&mut self, note: &Note<'a>) {
        if (note.name, note.kind) == TASK {
            let task = Registers::of_note(note.description, self.architecture);
            if let Some((tcb, registers)) = task.filter(|_| self.tasks.len() < MAX_TASKS) {
                self.tasks.push(Task { tcb, registers });
            }
            return;
        }
        match note.kind {
            EXTRA => self.read_extra_note(note.description),
            PANIC_DETAILS => self.panic_details = Some(note.description),
            INFO if note.name == INFO_NAME => {
                let chip = u16_at(note.description, 2).and_then(KnownChip::of_id);
                self.chip = chip.map(KnownChip::name);
            }
            INFO if note.name == REVISION_NAME => {
                self.chip_revision = u32_at(note.description, 0);
            }
            _ => {}
        }
    }

    fn read_extra_note(&mut self, extra: &[u8]) {
        match u32_at(extra, 0) {
            Some(UNUSABLE) => self.crashed = Crashed::Unusable,
            Some(tcb) => self.crashed = Crashed::Task(tcb),
            None => return,
        }
        match self.architecture {
            Architecture::RiscV => self.in_interrupt = u32_at(extra, 4).map(|flag| flag != 0),
            Architecture::Xtensa => {
                self.in_interrupt = u32_at(extra, XTENSA_INTERRUPT_FLAG).map(|flag| flag != 0);
                self.machine_state = xtensa_state(extra);
            }
        }
    }

    /// The stack of the crashed task begins with the frame of the exception. The notes do not
    /// contain the cause; the frame does, and is recognised by the registers, which are in both.
    fn find_riscv_state(&mut self) {
        let Some(Registers::RiscV(registers)) = self.crashed_task().map(|task| &task.registers)
        else {
            return;
        };
        let expected: Vec<u8> = registers.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let frame =
            self.memory.segments().iter().find(|segment| segment.bytes.starts_with(&expected));
        self.machine_state = frame.and_then(|frame| MachineState::of_riscv_frame(frame.bytes));
    }
}

/// Pairs of register number and value. Cause and address are identified by their position, because
/// the vendor's tool renumbers them.
fn xtensa_state(extra: &[u8]) -> Option<MachineState> {
    let pairs = extra.get(4..)?.as_chunks::<8>().0;
    let mut pairs = pairs.iter().filter_map(|pair| Some((u32_at(pair, 0)?, u32_at(pair, 4)?)));
    let (cause, address) = (pairs.next()?.1, pairs.next()?.1);
    let others = pairs.take(MAX_SPECIAL).filter(|(number, _)| *number != 0).collect();
    Some(MachineState::Xtensa { cause, address, others })
}

struct ProgramHeaders<'a> {
    all: Vec<ProgramHeader<'a>>,
    /// Some reach beyond the end of the file.
    cut: bool,
}

struct ProgramHeader<'a> {
    kind: u32,
    address: u32,
    bytes: &'a [u8],
}

impl<'a> ProgramHeaders<'a> {
    fn of(elf: &'a [u8]) -> Result<Self, DumpError> {
        let table = u32_at(elf, 28).and_then(|offset| elf.get(usize::try_from(offset).ok()?..));
        let size = u16_at(elf, 42).map(usize::from);
        let (Some(table), Some(PROGRAM_HEADER_BYTES), Some(count)) = (table, size, u16_at(elf, 44))
        else {
            return Err(DumpError::NotACore);
        };
        let count = usize::from(count);
        let headers = table.as_chunks::<PROGRAM_HEADER_BYTES>().0;
        let mut cut = headers.len() < count;
        let mut all = Vec::new();
        for header in headers.iter().take(count.min(MAX_SEGMENTS)) {
            let word = |index: usize| u32_at(header, 4 * index).unwrap_or_default();
            let bytes = part(elf, word(1), word(4));
            cut |= bytes.len() < usize::try_from(word(4)).unwrap_or(usize::MAX);
            all.push(ProgramHeader { kind: word(0), address: word(2), bytes });
        }
        Ok(Self { all, cut })
    }
}

/// The part of the file, cut where the file ends.
fn part(elf: &[u8], offset: u32, length: u32) -> &[u8] {
    let rest = usize::try_from(offset).ok().and_then(|offset| elf.get(offset..));
    let rest = rest.unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    rest.get(..length).unwrap_or(rest)
}
