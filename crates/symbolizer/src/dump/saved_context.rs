//! The registers of a task that does not run, as saved on its stack (ESP-IDF `xtensa_context.h`,
//! `rvruntime-frames.h`).

use coredock_domain::chip::Architecture;

use super::registers::{MachineState, Registers, RiscVRegisters, XtensaRegisters};
use super::{Dump, Memory, Task};
use crate::words::u32_at;

/// `PS.UM` and `PS.EXCM` (Xtensa ISA).
const USER_MODE: u32 = 0x20;
const EXCEPTION_MODE: u32 = 0x10;
/// Return addresses have the window increment in their upper two bits. All code is in this quarter
/// of the address space.
const REGION: u32 = 0x4000_0000;
const WITHIN_REGION: u32 = 0x3FFF_FFFF;

/// The registers saved at the start of a stack.
pub(super) fn context(
    stack: &[u8],
    address: u32,
    architecture: Architecture,
) -> Option<(Registers, Option<MachineState>)> {
    match architecture {
        Architecture::RiscV => {
            let registers = RiscVRegisters::of_words(stack)?;
            Some((Registers::RiscV(registers), MachineState::of_riscv_frame(stack)))
        }
        Architecture::Xtensa if u32_at(stack, 0)? == 0 => {
            Some((Registers::Xtensa(solicited(stack, address)?), None))
        }
        Architecture::Xtensa => {
            let (registers, state) = exception(stack)?;
            Some((Registers::Xtensa(registers), Some(state)))
        }
    }
}

/// The frame of an interrupted task.
fn exception(frame: &[u8]) -> Option<(XtensaRegisters, MachineState)> {
    let words: [[u8; 4]; 25] = *frame.as_chunks().0.first_chunk()?;
    let words = words.map(u32::from_le_bytes);
    let [_, pc, ps, rest @ ..] = words;
    let (window, rest) = rest.split_first_chunk::<16>()?;
    let [sar, cause, address, lbeg, lend, lcount] = *rest.first_chunk()?;
    let ps = if ps & USER_MODE == 0 { ps } else { ps & !EXCEPTION_MODE };
    let registers = XtensaRegisters { pc, ps, sar, loops: [lbeg, lend, lcount], window: *window };
    Some((registers, MachineState::Xtensa { cause, address, others: Vec::new() }))
}

/// The frame of a task that yielded: a0 to a3 are those of the caller of its caller.
fn solicited(frame: &[u8], address: u32) -> Option<XtensaRegisters> {
    let words: [[u8; 4]; 8] = *frame.as_chunks().0.first_chunk()?;
    let [_, pc, ps, _, a0, a1, a2, a3] = words.map(u32::from_le_bytes);
    let mut registers =
        XtensaRegisters { pc: pc & WITHIN_REGION | REGION, ps, ..Default::default() };
    registers.window[..4].copy_from_slice(&[a0, a1, a2, a3]);
    // Without a stack pointer the frames above this one could not be found.
    if a1 == 0 {
        registers.window[1] = address;
    }
    Some(registers)
}

impl Task {
    /// The address of its saved registers, unless it runs: the kernel stores it in the first member
    /// of the control block, `pxTopOfStack`.
    pub(crate) fn saved_context(&self, memory: &Memory<'_>) -> Option<u32> {
        memory.word(self.tcb)
    }

    /// The registers that were saved by the interrupt which is running.
    pub(crate) fn interrupted_registers(&self, dump: &Dump<'_>) -> Option<Registers> {
        let address = self.saved_context(&dump.memory)?;
        let stack = dump.memory.from(address)?;
        context(stack, address, dump.architecture).map(|(registers, _)| registers)
    }
}

/// The registers in the frame at `address`, if a task wrote that frame when it yielded and
/// `registers` were read from it. A note `CORE` has them without their upper two bits.
pub(crate) fn saved_by_yield(
    memory: &Memory<'_>,
    address: u32,
    registers: &XtensaRegisters,
) -> Option<XtensaRegisters> {
    let frame = memory.from(address).filter(|frame| u32_at(frame, 0) == Some(0))?;
    let saved = solicited(frame, address)?;
    let same_place = (saved.pc ^ registers.pc) & WITHIN_REGION == 0;
    (same_place && saved.ps == registers.ps).then_some(saved)
}
