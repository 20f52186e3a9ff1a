//! The registers of an Xtensa task: in its note, and in the frame with which its stack begins
//! (ESP-IDF `xtensa_context.h`, `core_dump_port.c`).

use super::registers::note_of;

/// An exception decrements the stack pointer by this, for its frame and for the registers of the
/// caller which belong right below the stack pointer.
const EXCEPTION_BYTES: u32 = 160;
/// The registers of the caller: a0 to a3.
const SAVE_AREA_BYTES: u32 = 16;

const NOTE_BYTES: usize = 588;
/// Words of a note between windowbase and a0.
const NOTE_RESERVED: usize = 56;

/// `PS.UM` and `PS.EXCM`.
const USER_MODE: u32 = 0x20;
const EXCEPTION_MODE: u32 = 0x10;
/// The upper two bits of a return address are not part of it.
const INCREMENT: u32 = 0xC000_0000;
/// Set for CALL8 and CALL12.
const WIDE_INCREMENT: u32 = 0x8000_0000;

/// Numbers of special registers.
const EXCCAUSE: u32 = 232;
const EXCVADDR: u32 = 238;
const EPC1: u32 = 177;
/// EPC2 to 7, EPS2 to 7.
const OTHER_SPECIAL: [u32; 12] = [178, 179, 180, 181, 182, 183, 194, 195, 196, 197, 198, 199];
/// Pairs of number and value in the note `ESP_EXTRA_INFO`.
const PAIRS: usize = 18;

/// Registers of an Xtensa task, whose stack begins 16 bytes below the stack pointer, with registers
/// of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XtensaRegisters {
    /// pc, a0 to a15.
    pub general: [u32; 17],
    /// The address of the code which leaves the frame: any word but 0.
    pub exit: u32,
    /// The processor state before the exception.
    pub ps: u32,
    /// The shift amount.
    pub sar: u32,
    /// EXCCAUSE.
    pub cause: u32,
    /// EXCVADDR.
    pub address: u32,
    /// lbeg, lend, lcount.
    pub loops: [u32; 3],
}

/// Registers in the frame of a task which yielded. Its stack begins at the stack pointer of the
/// function which called the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XtensaYielded {
    /// The address at which that function continues, and a0 to a3 of its caller. The upper two bits
    /// of the first two words are the number of registers by which the window moved, in fours.
    pub general: [u32; 5],
    /// The processor state at the call of the scheduler.
    pub ps: u32,
}

impl XtensaRegisters {
    pub(super) const FRAME_BYTES: u32 = EXCEPTION_BYTES - SAVE_AREA_BYTES;

    pub(super) fn of_frame(words: &[u32]) -> Option<Self> {
        let (&[exit, pc, ps], rest) = words.split_first_chunk()?;
        let (window, rest) = rest.split_first_chunk::<16>()?;
        let &[sar, cause, address, lbeg, lend, lcount] = rest.first_chunk()?;
        let mut general = [pc; 17];
        general[1..].copy_from_slice(window);
        let loops = [lbeg, lend, lcount];
        Some(Self { general, exit, ps, sar, cause, address, loops })
    }

    pub(super) fn frame(&self, stack: u32) -> (u32, Vec<u8>) {
        let [pc, window @ ..] = self.general;
        let first = [self.exit, pc, self.ps].into_iter().chain(window);
        let last = [self.sar, self.cause, self.address].into_iter().chain(self.loops);
        let mut bytes: Vec<u8> = first.chain(last).flat_map(u32::to_le_bytes).collect();
        bytes.resize(Self::FRAME_BYTES as usize, 0);
        (stack.wrapping_sub(Self::FRAME_BYTES), bytes)
    }

    /// The framework undoes the exception for GDB.
    pub(super) fn note(&self, tcb: u32) -> Vec<u8> {
        let [pc, window @ ..] = self.general;
        let ps = if self.ps & USER_MODE == 0 { self.ps } else { self.ps & !EXCEPTION_MODE };
        let [lbeg, lend, lcount] = self.loops;
        let special = [pc, ps, lbeg, lend, lcount, self.sar, 0, 0];
        note(tcb, special, window)
    }

    /// Pairs of number and value.
    pub(super) fn extra_state(&self) -> Vec<u32> {
        let first = [(EXCCAUSE, self.cause), (EXCVADDR, self.address), (EPC1, self.general[0])];
        let others = OTHER_SPECIAL.map(|number| (number, 0));
        let pairs = first.into_iter().chain(others).flat_map(|(number, value)| [number, value]);
        let mut words: Vec<u32> = pairs.collect();
        words.resize(2 * PAIRS, 0);
        words
    }
}

impl XtensaYielded {
    pub(super) const FRAME_BYTES: u32 = 32;

    pub(super) fn of_frame(words: &[u32]) -> Option<Self> {
        let &[_, pc, ps, _, a0, a1, a2, a3] = words.first_chunk()?;
        Some(Self { general: [pc, a0, a1, a2, a3], ps })
    }

    pub(super) fn frame(&self, stack: u32) -> (u32, Vec<u8>) {
        let [pc, window @ ..] = self.general;
        let words = [0, pc, self.ps, 0].into_iter().chain(window);
        let bytes = words.flat_map(u32::to_le_bytes).collect();
        (stack.wrapping_sub(Self::FRAME_BYTES), bytes)
    }

    /// The framework clears the upper bits of pc, and those of a0 if its highest bit is set.
    pub(super) fn note(&self, tcb: u32) -> Vec<u8> {
        let [pc, a0, window @ ..] = self.general;
        let a0 = if a0 & WIDE_INCREMENT == 0 { a0 } else { a0 & !INCREMENT };
        let special = [pc & !INCREMENT, self.ps, 0, 0, 0, 0, 0, 0];
        note(tcb, special, [a0].into_iter().chain(window))
    }
}

fn note(tcb: u32, special: [u32; 8], window: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let reserved = std::iter::repeat_n(0, NOTE_RESERVED);
    note_of(tcb, special.into_iter().chain(reserved).chain(window), NOTE_BYTES)
}
