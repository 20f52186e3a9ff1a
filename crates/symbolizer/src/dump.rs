//! What a dump says: registers, tasks, memory, the words of the panic.
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

/// Tasks of a dump that are looked at.
const MAX_TASKS: usize = 256;
/// Stacks of corrupted tasks are replaced by one in this range, which holds nothing.
const FAKE_STACKS: std::ops::Range<u32> = 0x2000_0000..0x3000_0000;

/// A dump, taken apart.
#[derive(Debug)]
pub(crate) struct Dump<'a> {
    pub(crate) container: Container,
    /// Something was missing or damaged.
    pub(crate) salvaged: bool,
    pub(crate) architecture: Architecture,
    pub(crate) chip: Option<&'static str>,
    /// Major version times 100, plus minor.
    pub(crate) chip_revision: Option<u32>,
    pub(crate) build_id: Option<BuildId>,
    /// The crashed task first.
    pub(crate) tasks: Vec<Task>,
    pub(crate) crashed: Crashed,
    /// Whether an interrupt handler ran.
    pub(crate) in_interrupt: Option<bool>,
    /// What the panic handler said.
    pub(crate) panic_details: Option<&'a [u8]>,
    /// Cause registers of the crash.
    pub(crate) machine_state: Option<MachineState>,
    pub(crate) memory: Memory<'a>,
}

/// One task, as far as the dump itself tells.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Address of its control block.
    pub(crate) tcb: u32,
    pub(crate) registers: Registers,
}

impl Task {
    /// Whether the panic handler found its stack unusable.
    pub(crate) fn is_corrupted(&self) -> bool {
        FAKE_STACKS.contains(&self.registers.sp())
    }
}

/// Which task crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crashed {
    /// The one of this control block.
    Task(u32),
    /// The current task could not be used, and was left out.
    Unusable,
    /// The first, because nothing else is said.
    First,
}

/// Why a body is no dump that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Neither an ELF core nor a raw image, in whatever wrapping.
    #[error("this is no dump of ESP-IDF ({0})")]
    NotADump(&'static str),
    /// A core of another kind of processor.
    #[error("an ELF core of machine {0}, which is neither Xtensa (94) nor RISC-V (243)")]
    Machine(u16),
    /// The ELF is one, but no core as ESP-IDF writes it.
    #[error("an ELF that is no 32-bit little-endian core")]
    NotACore,
    /// There is nothing about any task in it.
    #[error("the dump holds no task")]
    NoTask,
}

impl<'a> Dump<'a> {
    /// Takes apart what [`coredock_domain::coredumps::body::unwrap`] found.
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

    /// The task that crashed, if the dump has it.
    pub(crate) fn crashed_task(&self) -> Option<&Task> {
        match self.crashed {
            Crashed::Task(tcb) => self.tasks.iter().find(|task| task.tcb == tcb),
            Crashed::Unusable => None,
            Crashed::First => self.tasks.first(),
        }
    }
}
