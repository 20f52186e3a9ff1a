//! Registers of both architectures.

use std::ops::{Index, IndexMut};

use super::{RiscvRegisters, XtensaRegisters, XtensaYielded};

/// The registers of a task. By index they are pc, the return address, the stack pointer, then the
/// others in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registers {
    /// Registers of any task of RISC-V.
    Riscv(RiscvRegisters),
    /// Registers of a task which was interrupted by an exception, or has not started.
    Xtensa(XtensaRegisters),
    /// Registers of a task which yielded.
    XtensaYielded(XtensaYielded),
}

impl Registers {
    fn general(&self) -> &[u32] {
        match self {
            Self::Riscv(registers) => &registers.general,
            Self::Xtensa(registers) => &registers.general,
            Self::XtensaYielded(registers) => &registers.general,
        }
    }

    fn general_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Riscv(registers) => &mut registers.general,
            Self::Xtensa(registers) => &mut registers.general,
            Self::XtensaYielded(registers) => &mut registers.general,
        }
    }

    /// The registers in the frame of a RISC-V task: at least 37 words.
    pub fn of_riscv_frame(words: &[u32]) -> Option<Self> {
        RiscvRegisters::of_frame(words).map(Self::Riscv)
    }

    /// The registers in the frame of an Xtensa task: 25 words, or 8 after a yield, which begin with
    /// 0.
    pub fn of_xtensa_frame(words: &[u32]) -> Option<Self> {
        match words.first()? {
            0 => XtensaYielded::of_frame(words).map(Self::XtensaYielded),
            _ => XtensaRegisters::of_frame(words).map(Self::Xtensa),
        }
    }

    /// The start of the stack after the frame at this address.
    pub(super) fn stack_after(&self, frame: u32) -> u32 {
        match self {
            Self::Riscv(registers) => registers.general[2],
            Self::Xtensa(_) => frame.wrapping_add(XtensaRegisters::FRAME_BYTES),
            Self::XtensaYielded(_) => frame.wrapping_add(XtensaYielded::FRAME_BYTES),
        }
    }

    /// Address and content of the frame which ends at the start of the stack.
    pub(super) fn frame(&self, stack: u32) -> (u32, Vec<u8>) {
        match self {
            Self::Riscv(registers) => registers.frame(stack),
            Self::Xtensa(registers) => registers.frame(stack),
            Self::XtensaYielded(registers) => registers.frame(stack),
        }
    }

    /// The description of the note `CORE`.
    pub(super) fn note(&self, tcb: u32) -> Vec<u8> {
        match self {
            Self::Riscv(registers) => registers.note(tcb),
            Self::Xtensa(registers) => registers.note(tcb),
            Self::XtensaYielded(registers) => registers.note(tcb),
        }
    }

    /// The words in the note `ESP_EXTRA_INFO` if this task crashed.
    pub(super) fn extra_state(&self) -> Vec<u32> {
        match self {
            Self::Xtensa(registers) => registers.extra_state(),
            Self::Riscv(_) | Self::XtensaYielded(_) => Vec::new(),
        }
    }
}

impl Index<usize> for Registers {
    type Output = u32;

    fn index(&self, number: usize) -> &u32 {
        &self.general()[number]
    }
}

impl IndexMut<usize> for Registers {
    fn index_mut(&mut self, number: usize) -> &mut u32 {
        &mut self.general_mut()[number]
    }
}

/// A note `CORE`: the address of the control block, the registers, and zeros up to the end.
pub(super) fn note_of(tcb: u32, registers: impl IntoIterator<Item = u32>, bytes: usize) -> Vec<u8> {
    const TCB: usize = 24;
    const REGISTERS: usize = 72;
    let mut note = vec![0; TCB];
    note.extend(tcb.to_le_bytes());
    note.resize(REGISTERS, 0);
    note.extend(registers.into_iter().flat_map(u32::to_le_bytes));
    note.resize(bytes, 0);
    note
}
