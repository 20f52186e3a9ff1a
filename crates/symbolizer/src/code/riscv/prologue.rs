//! Frame layout from the first instructions of a RISC-V function, for code in ROM, which may have
//! no call frame information.

use crate::elf::{SavedAt, UnwindRule};
use crate::words::{u16_at, u32_at};

const RA: u8 = 1;
const SP: u32 = 2;
const BRANCH: u32 = 0x63;
const STORE_WORD: (u32, u32) = (0x23, 2);
const ADD_IMMEDIATE: (u32, u32) = (0x13, 0);

/// The effects of the instructions so far.
#[derive(Default)]
struct Effects {
    /// Bytes by which the stack pointer has moved down.
    moved: i32,
    /// Callee-saved registers and their offsets from the stack pointer at the call, which are
    /// negative.
    saved: Vec<(u8, i32)>,
}

enum Instruction {
    /// Adds to the stack pointer.
    Move(i32),
    /// Stores a register above the stack pointer.
    Store {
        register: u8,
        offset: i32,
    },
    /// Execution may continue elsewhere.
    Branch,
    Other,
}

/// The rule after `code`, which is the function from its first instruction to the current one.
pub(in crate::code) fn rule_after(code: &[u8]) -> UnwindRule {
    let mut effects = Effects::default();
    let mut offset = 0;
    while let Some(half) = u16_at(code, offset) {
        let long = half & 3 == 3;
        let instruction = if long {
            let Some(word) = u32_at(code, offset) else { break };
            of_word(word)
        } else {
            of_half(half.into())
        };
        offset += if long { 4 } else { 2 };
        match instruction {
            Instruction::Move(change) if change < 0 => {
                effects.moved = effects.moved.saturating_sub(change);
            }
            Instruction::Store { register, offset } => effects.store(register, offset),
            // The frame is released, or other code may have jumped here.
            Instruction::Move(_) | Instruction::Branch => break,
            Instruction::Other => {}
        }
    }
    effects.into_rule()
}

impl Effects {
    /// Only the first store of a register saves the value that it had at the call.
    fn store(&mut self, register: u8, offset: i32) {
        let callee_saved = matches!(register, RA | 8 | 9 | 18..=27);
        if callee_saved && self.saved.iter().all(|(known, _)| *known != register) {
            self.saved.push((register, offset.saturating_sub(self.moved)));
        }
    }

    fn into_rule(self) -> UnwindRule {
        let place = |(register, offset)| (register, SavedAt::AtCfaOffset(offset));
        let mut saved: Vec<_> = self.saved.into_iter().map(place).collect();
        saved.sort_by_key(|(register, _)| *register);
        let return_address = saved.iter().find(|(register, _)| *register == RA);
        let return_address = return_address.map_or(SavedAt::Same, |(_, at)| *at);
        UnwindRule { cfa: (2, self.moved), return_address_register: RA, return_address, saved }
    }
}

/// RV32I: `addi sp, sp, n`, `sw r, n(sp)`, branches and jumps.
fn of_word(word: u32) -> Instruction {
    let (opcode, function) = (word & 0x7F, word >> 12 & 7);
    let (destination, first, second) = (word >> 7 & 31, word >> 15 & 31, word >> 20 & 31);
    if (opcode, function) == ADD_IMMEDIATE && destination == SP && first == SP {
        return Instruction::Move(word.cast_signed() >> 20);
    }
    if (opcode, function) == STORE_WORD && first == SP {
        let high = (word.cast_signed() >> 25) << 5;
        let offset = high | destination.cast_signed();
        return Instruction::Store { register: low_byte(second), offset };
    }
    // A call returns; the code after any other jump may be reached from elsewhere.
    let jump = matches!(opcode, 0x6F | 0x67) && destination != 1;
    if opcode == BRANCH || jump { Instruction::Branch } else { Instruction::Other }
}

/// Extension C: `c.addi`, `c.addi16sp`, `c.swsp`, branches and jumps.
fn of_half(half: u32) -> Instruction {
    let register = half >> 7 & 31;
    match (half & 3, half >> 13) {
        (1, 0) if register == SP => {
            Instruction::Move(sign_extended(half >> 12 & 1, half >> 2 & 31, 5))
        }
        (1, 3) if register == SP => {
            let bits = (half >> 6 & 1) << 4
                | (half >> 2 & 1) << 5
                | (half >> 5 & 1) << 6
                | (half >> 3 & 3) << 7;
            Instruction::Move(sign_extended(half >> 12 & 1, bits, 9))
        }
        (2, 6) => {
            let offset = (half >> 9 & 15) << 2 | (half >> 7 & 3) << 6;
            Instruction::Store { register: low_byte(half >> 2 & 31), offset: offset.cast_signed() }
        }
        (1, 5..=7) => Instruction::Branch,
        (2, 4) if half & 0x107C == 0 => Instruction::Branch,
        _ => Instruction::Other,
    }
}

const fn sign_extended(sign: u32, bits: u32, width: u32) -> i32 {
    if sign == 1 { (bits | u32::MAX << width).cast_signed() } else { bits.cast_signed() }
}

const fn low_byte(register: u32) -> u8 {
    register.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(halves: &[u16]) -> UnwindRule {
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        rule_after(&code)
    }

    #[test]
    fn a_frame_is_known_as_far_as_it_was_set_up() {
        // addi sp,sp,-32; sw ra,28(sp); c.swsp s0,24(sp); li a0,1
        let whole = [0x1101, 0x2e23, 0x0011, 0xcc22, 0x4505];
        let found = rule(&whole);
        assert_eq!((found.cfa, found.return_address), ((2, 32), SavedAt::AtCfaOffset(-4)));
        assert_eq!(found.saved, [(1, SavedAt::AtCfaOffset(-4)), (8, SavedAt::AtCfaOffset(-8))]);
        assert_eq!(rule(&[]).cfa, (2, 0));
        assert_eq!(rule(&whole[..1]).return_address, SavedAt::Same);
        assert_eq!(rule(&whole[..1]).cfa, (2, 32));
    }

    #[test]
    fn frames_grow_in_steps_and_end_at_branches() {
        // c.addi16sp sp,-512; addi sp,sp,-2032
        let found = rule(&[0x7101, 0x0113, 0x8101]);
        assert_eq!(found.cfa, (2, 512 + 2032));
        assert_eq!(
            rule(&[0x1101, 0x617d]).cfa,
            (2, 32),
            "the end of the function releases the frame"
        );
        // c.addi sp,-32; c.j .; c.addi sp,-32; and with beqz
        assert_eq!(rule(&[0x1101, 0xa001, 0x1101]).cfa, (2, 32));
        assert_eq!(rule(&[0x1101, 0xc101, 0x1101]).cfa, (2, 32));
    }

    #[test]
    fn later_stores_of_a_register_are_not_of_its_value_at_the_call() {
        // c.addi sp,-32; c.swsp s0,24(sp); c.swsp s0,0(sp)
        assert_eq!(rule(&[0x1101, 0xcc22, 0xc022]).saved, [(8, SavedAt::AtCfaOffset(-8))]);
    }
}
