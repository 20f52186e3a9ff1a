//! The memory of a device at the moment of a crash, and its dump: an ELF core, or a raw image of
//! every version (contract §6.6).

mod core;
mod registers;
mod riscv;
mod task_list;
#[cfg(test)]
mod tests;
mod xtensa;

pub use registers::Registers;
pub use riscv::RiscvRegisters;
pub use xtensa::{XtensaRegisters, XtensaYielded};

use crate::coredumps::{CoreBuilder, raw_with_words};

/// The version in a bare ELF core.
const CORE_VERSION: u16 = 0x0104;
/// From this version on the framework does not count the padding of names.
const FIRST_WITH_UNPADDED_NAMES: u16 = 0x0103;
/// `e_machine` of both architectures.
const EM_RISCV: u16 = 243;
const EM_XTENSA: u16 = 94;
/// esp32, esp32s2 and esp32s3.
const XTENSA_CHIPS: [u16; 3] = [0, 2, 9];
/// The address of the control block of a current task which could not be dumped.
const CORRUPT_TCB_ADDRESS: u32 = 0xDEAD_BEEF;

const TASK_REGISTERS_NOTE_TYPE: u32 = 1;
const EXTRA_INFO_NOTE_TYPE: u32 = 677;
const PANIC_DETAILS_NOTE_TYPE: u32 = 679;
/// Name and type of a note.
const CHIP_REVISION: (&str, u32) = ("ESP_CHIP_REV", 8266);
/// The name of the note which [`CoreBuilder`] adds.
const INFO: &str = "ESP_CORE_DUMP_INFO";

/// A crashed device.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// 13 is esp32c6, 9 is esp32s3.
    pub chip: u16,
    /// 100 times the major revision plus the minor one.
    pub chip_revision: u32,
    /// The first digits of the SHA-256 of the firmware's ELF.
    pub build_id: Option<String>,
    /// The crashed task is the first.
    pub tasks: Vec<TaskSnapshot>,
    /// Further regions: address and content.
    pub memory: Vec<(u32, Vec<u8>)>,
    /// The text of an abort.
    pub panic_details: Option<String>,
    pub extra: ExtraNote,
}

#[derive(Debug, Clone)]
pub struct TaskSnapshot {
    /// Address and content of its control block.
    pub tcb: (u32, Vec<u8>),
    /// Address and content of its stack above the frame with the registers.
    pub stack: (u32, Vec<u8>),
    /// The content of the frame.
    pub registers: Registers,
}

/// The content of the note `ESP_EXTRA_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraNote {
    /// The dump has no note of this name.
    None,
    /// The task that crashed.
    Crashed {
        /// Address of its control block.
        tcb: u32,
        /// Whether an interrupt was being served; absent in older frameworks.
        in_isr: Option<bool>,
    },
    /// The current task was unusable and is not in the dump.
    Unusable,
}

/// Whether the length of a note's name counts the padding, which follows the name in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotePadding {
    /// As in older frameworks.
    Counted,
    NotCounted,
}

impl Snapshot {
    /// A bare ELF core, with the chip's revision in a note as the vendor's tool writes it.
    pub fn elf_core(&self, names: NotePadding) -> Vec<u8> {
        let revision = self.chip_revision.to_le_bytes();
        self.core(CORE_VERSION, names).note(CHIP_REVISION.0, CHIP_REVISION.1, &revision).elf()
    }

    /// The raw image which a device writes to its partition; `version` is one of contract §6.6.
    pub fn raw(&self, version: u16) -> Vec<u8> {
        let words = self.header_words(version);
        let content = if version < 0x0100 {
            task_list::of(self, version)
        } else if version < FIRST_WITH_UNPADDED_NAMES {
            self.core(version, NotePadding::Counted).elf()
        } else {
            self.core(version, NotePadding::NotCounted).elf()
        };
        raw_with_words(version, self.chip, &words, &content)
    }

    fn header_words(&self, version: u16) -> Vec<u32> {
        match version {
            0x0001..=0x0003 => task_list::header_words(self, version),
            0x0102 | 0x0103 => vec![0, 0, 0, self.chip_revision],
            0x0104 => vec![self.chip_revision],
            _ => Vec::new(),
        }
    }

    fn core(&self, version: u16, names: NotePadding) -> CoreBuilder {
        let mut core = CoreBuilder::new()
            .machine(self.machine())
            .version(version, self.chip)
            .padded_names(names == NotePadding::Counted);
        core = match &self.build_id {
            Some(build_id) => core.build_id(build_id),
            None => core.without_info(),
        };
        for task in &self.tasks {
            let (address, bytes) = task.framed_stack();
            core = core
                .note("CORE", TASK_REGISTERS_NOTE_TYPE, &task.registers.note(task.tcb.0))
                .segment(task.tcb.0, &task.tcb.1)
                .segment(address, &bytes);
        }
        for (address, bytes) in &self.memory {
            core = core.segment(*address, bytes);
        }
        self.with_crash_notes(core)
    }

    fn with_crash_notes(&self, mut core: CoreBuilder) -> CoreBuilder {
        if let Some(extra) = self.extra_description() {
            core = core.note("ESP_EXTRA_INFO", EXTRA_INFO_NOTE_TYPE, &extra);
        }
        if let Some(details) = &self.panic_details {
            core = core.note("ESP_PANIC_DETAILS", PANIC_DETAILS_NOTE_TYPE, details.as_bytes());
        }
        core
    }

    fn machine(&self) -> u16 {
        if XTENSA_CHIPS.contains(&self.chip) { EM_XTENSA } else { EM_RISCV }
    }

    fn extra_description(&self) -> Option<Vec<u8>> {
        match self.extra {
            ExtraNote::None => None,
            ExtraNote::Crashed { tcb, in_isr } => {
                let flag = in_isr.map(|in_isr| u32::from(in_isr).to_le_bytes());
                let state = self.tasks.first().map(|task| task.registers.extra_state());
                let words = [tcb].into_iter().chain(state.unwrap_or_default());
                let mut description: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
                description.extend(flag.as_slice().as_flattened());
                Some(description)
            }
            ExtraNote::Unusable => Some(CORRUPT_TCB_ADDRESS.to_le_bytes().to_vec()),
        }
    }
}

impl TaskSnapshot {
    /// The stack with the frame below it, as a device dumps them.
    fn framed_stack(&self) -> (u32, Vec<u8>) {
        let (address, mut bytes) = self.registers.frame(self.stack.0);
        bytes.extend(&self.stack.1);
        (address, bytes)
    }
}
