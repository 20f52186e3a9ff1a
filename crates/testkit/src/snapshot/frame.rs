//! The registers of a task: in its note, and in the frame that an exception leaves on its stack.

use super::TaskSnapshot;

/// 32 registers and 5 words of machine state.
const FRAME_BYTES: u32 = 37 * 4;
/// Stack pointers of RISC-V are multiples of it.
const STACK_ALIGNMENT: u32 = 16;

const NOTE_BYTES: usize = 204;
const NOTE_TCB: usize = 24;
const NOTE_REGISTERS: usize = 72;

impl TaskSnapshot {
    /// The stack with the frame in front of it, which is what a device dumps.
    pub(super) fn framed_stack(&self) -> (u32, Vec<u8>) {
        let (stack, content) = &self.stack;
        let address = stack.wrapping_sub(FRAME_BYTES) & !(STACK_ALIGNMENT - 1);
        let gap = stack.wrapping_sub(address).wrapping_sub(FRAME_BYTES);
        let words = self.registers.iter().chain(&self.machine_state);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(std::iter::repeat_n(0, gap as usize));
        bytes.extend(content);
        (address, bytes)
    }

    /// The description of the note `CORE`.
    pub(super) fn core_note(&self) -> Vec<u8> {
        let mut note = vec![0; NOTE_TCB];
        note.extend(self.tcb.0.to_le_bytes());
        note.resize(NOTE_REGISTERS, 0);
        note.extend(self.registers.iter().flat_map(|word| word.to_le_bytes()));
        note.resize(NOTE_BYTES, 0);
        note
    }
}
