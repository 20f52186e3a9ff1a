//! The registers of a RISC-V task: in its note, and in the frame which an exception writes to its
//! stack (ESP-IDF `rvruntime-frames.h`).

use super::registers::note_of;

/// 32 registers and 5 words of machine state.
const FRAME_BYTES: u32 = 37 * 4;
/// Stack pointers of RISC-V are multiples of this.
const STACK_ALIGNMENT: u32 = 16;
const NOTE_BYTES: usize = 204;

/// Registers of a RISC-V task, whose stack begins at the stack pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiscvRegisters {
    /// pc, ra, sp, gp, tp, t0 to t2, s0, s1, a0 to a7, s2 to s11, t3 to t6.
    pub general: [u32; 32],
    /// mstatus, mtvec, mcause, mtval, mhartid.
    pub machine_state: [u32; 5],
}

impl RiscvRegisters {
    pub(super) fn of_frame(words: &[u32]) -> Option<Self> {
        let (general, rest) = words.split_first_chunk()?;
        Some(Self { general: *general, machine_state: *rest.first_chunk()? })
    }

    pub(super) fn frame(&self, stack: u32) -> (u32, Vec<u8>) {
        let address = stack.wrapping_sub(FRAME_BYTES) & !(STACK_ALIGNMENT - 1);
        let words = self.general.iter().chain(&self.machine_state);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(stack.wrapping_sub(address) as usize, 0);
        (address, bytes)
    }

    pub(super) fn note(&self, tcb: u32) -> Vec<u8> {
        note_of(tcb, self.general, NOTE_BYTES)
    }
}
