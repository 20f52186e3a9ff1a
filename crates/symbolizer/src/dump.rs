//! Reading a dump: registers, tasks, memory and the text of the panic handler.
//!
//! Formats: ESP-IDF `core_dump_elf.c`, `core_dump_binary.c`, `esp_core_dump_types.h`.

mod elf_core;
mod memory;
mod registers;
mod saved_context;
mod task_list;

use coredock_domain::chip::{Architecture, KnownChip};
use coredock_domain::coredumps::body::{Container, Unwrapped, raw_parts};
use coredock_domain::coredumps::coredump::BuildId;

pub(crate) use memory::{Memory, Segment};
pub(crate) use registers::{MachineState, Registers, RiscVRegisters, XtensaRegisters};
pub(crate) use saved_context::saved_by_yield;

const MAX_TASKS: usize = 256;
/// The panic handler moves the stack pointer of a corrupted task into this range, which has no
/// memory.
const FAKE_STACKS: std::ops::Range<u32> = 0x2000_0000..0x3000_0000;

#[derive(Debug)]
pub(crate) struct Dump<'a> {
    pub(crate) container: Container,
    /// Parts were missing or damaged.
    pub(crate) salvaged: bool,
    pub(crate) architecture: Architecture,
    pub(crate) chip: Option<&'static str>,
    /// Major version times 100, plus minor version.
    pub(crate) chip_revision: Option<u32>,
    pub(crate) build_id: Option<BuildId>,
    /// The crashed task is the first one.
    pub(crate) tasks: Vec<Task>,
    pub(crate) crashed: Crashed,
    pub(crate) in_interrupt: Option<bool>,
    /// The text of the panic handler.
    pub(crate) panic_details: Option<&'a [u8]>,
    /// Cause registers of the crash.
    pub(crate) machine_state: Option<MachineState>,
    pub(crate) memory: Memory<'a>,
}

/// A task, as far as the dump describes it without an ELF.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Address of its task control block.
    pub(crate) tcb: u32,
    pub(crate) registers: Registers,
}

impl Task {
    /// Whether the panic handler marked its stack as unusable.
    pub(crate) fn is_corrupted(&self) -> bool {
        FAKE_STACKS.contains(&self.registers.sp())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crashed {
    /// The task with this control block.
    Task(u32),
    /// The panic handler found the current task unusable and left it out.
    Unusable,
    /// The first task, because the dump does not name one.
    First,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Neither an ELF core nor a raw image, also after unwrapping.
    #[error("expected a core dump as ESP-IDF writes it, found container \"{0}\"")]
    NotADump(&'static str),
    #[error("expected an ELF core for Xtensa (94) or RISC-V (243), found machine {0}")]
    Machine(u16),
    /// An ELF, but not a core as ESP-IDF writes it.
    #[error("expected a 32-bit little-endian ELF core, found another kind of ELF")]
    NotACore,
    #[error("the dump contains no task")]
    NoTask,
}

impl<'a> Dump<'a> {
    /// Reads what [`coredock_domain::coredumps::body::unwrap`] found.
    pub(crate) fn read(body: &'a Unwrapped) -> Result<Self, DumpError> {
        let mut dump = match body.container {
            Container::Elf | Container::StrippedElf => elf_core::read(&body.bytes)?,
            Container::Raw => Self::of_image(&body.bytes)?,
            other @ (Container::Gzip | Container::Base64 | Container::Unknown) => {
                return Err(DumpError::NotADump(other.as_str()));
            }
        };
        dump.container = body.container;
        dump.salvaged |= body.salvaged;
        if dump.tasks.is_empty() && dump.crashed != Crashed::Unusable {
            return Err(DumpError::NoTask);
        }
        Ok(dump)
    }

    fn of_image(image: &'a [u8]) -> Result<Self, DumpError> {
        let Some(parts) = raw_parts(image) else { return Err(DumpError::NotADump("raw")) };
        let mut dump = if parts.version >= 0x0100 {
            elf_core::read(parts.content)?
        } else {
            task_list::read(&parts)
        };
        dump.chip = KnownChip::of_id(parts.chip_id).map(KnownChip::name).or(dump.chip);
        dump.chip_revision = task_list::chip_revision(&parts).or(dump.chip_revision);
        Ok(dump)
    }

    /// `None` if the dump does not contain it.
    pub(crate) fn crashed_task(&self) -> Option<&Task> {
        match self.crashed {
            Crashed::Task(tcb) => self.tasks.iter().find(|task| task.tcb == tcb),
            Crashed::Unusable => None,
            Crashed::First => self.tasks.first(),
        }
    }
}
