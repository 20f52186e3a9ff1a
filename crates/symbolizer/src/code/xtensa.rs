//! Calls in Xtensa code (Xtensa ISA, core architecture, windowed registers and code density).

use super::{Branches, Call};
use crate::elf::{SavedAt, UnwindRule};

const ENTRY: u8 = 0x36;

pub(super) fn is_entry(code: &[u8]) -> bool {
    code.first() == Some(&ENTRY) && code.len() >= 3
}

/// The rule before `ENTRY`: window and stack pointer are still those of the caller.
pub(super) const fn before_entry() -> UnwindRule {
    const SP: u8 = 1;
    UnwindRule {
        cfa: (SP, 0),
        return_address_register: 0,
        return_address: SavedAt::Same,
        saved: Vec::new(),
    }
}

/// The calls in a function. Jumps are ignored: compilers do not make tail calls from functions with
/// register windows.
///
/// Assemblers may put bytes that are not instructions after a jump. Decoding one instruction after
/// the other is then out of step for a while, which loses 5 % of the calls in the ROM of ESP32. So
/// bytes at any other offset also count as a call if they lead to the start of a function, or
/// through a register, which few byte sequences do by chance.
pub(super) fn branches(
    code: &[u8],
    start: u32,
    is_function_start: impl Fn(u32) -> bool,
) -> Branches {
    let mut calls = Vec::new();
    let mut in_step = 0;
    for (offset, bytes) in code.windows(3).enumerate() {
        let address = start.wrapping_add(u32::try_from(offset).unwrap_or(u32::MAX));
        let is_instruction = offset == in_step;
        if is_instruction {
            in_step += bytes.first().map_or(3, |first| length_of(*first));
        }
        let found = call(bytes, address);
        calls.extend(
            found.filter(|call| is_instruction || call.target.is_none_or(&is_function_start)),
        );
    }
    Branches { calls, jumps: Vec::new() }
}

/// In bytes: 2 with code density, 4 for the vector instructions of ESP32-S3, otherwise 3.
const fn length_of(first: u8) -> usize {
    match first & 0xF {
        0x8..=0xD => 2,
        0xE | 0xF => 4,
        _ => 3,
    }
}

fn call(instruction: &[u8], address: u32) -> Option<Call> {
    let [a, b, c] = *instruction else { return None };
    let word = u32::from_le_bytes([a, b, c, 0]);
    let return_address = address.wrapping_add(3);
    if word & 0xF == 5 {
        // CALL0, CALL4, CALL8, CALL12: bits 23 to 6 count words.
        let words = (word << 8).cast_signed() >> 14;
        let target = (address & !3).wrapping_add_signed(words << 2).wrapping_add(4);
        return Some(Call { return_address, target: Some(target) });
    }
    // CALLX0, CALLX4, CALLX8, CALLX12.
    (word & 0x00FF_F0CF == 0x0000_00C0).then_some(Call { return_address, target: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(code: &[u8], start: u32) -> Vec<(u32, Option<u32>)> {
        calls_to(code, start, u32::MAX)
    }

    /// With a function at `function`.
    fn calls_to(code: &[u8], start: u32, function: u32) -> Vec<(u32, Option<u32>)> {
        let calls = branches(code, start, |target| target == function).calls;
        calls.into_iter().map(|call| (call.return_address, call.target)).collect()
    }

    #[test]
    fn calls_are_found_between_instructions_of_two_and_three_bytes() {
        // entry a1, 32; mov.n a10, a2; callx8 a8; call8 .; retw.n
        let code = [0x36, 0x41, 0, 0xad, 0x02, 0xe0, 0x08, 0, 0xe5, 0xff, 0xff, 0x1d, 0xf0];
        assert!(is_entry(&code));
        assert_eq!(calls(&code, 0x1000), [(0x1008, None), (0x100b, Some(0x1008))]);
    }

    #[test]
    fn targets_are_counted_in_words_from_the_word_after_the_call() {
        // call8 with offsets 0, 1, -2
        assert_eq!(calls(&[0x25, 0, 0], 0x4000_0003), [(0x4000_0006, Some(0x4000_0004))]);
        assert_eq!(calls(&[0x65, 0, 0], 0x4000_0002), [(0x4000_0005, Some(0x4000_0008))]);
        assert_eq!(calls(&[0xa5, 0xff, 0xff], 0x4000_0000), [(0x4000_0003, Some(0x3fff_fffc))]);
    }

    #[test]
    fn calls_after_bytes_that_are_not_instructions_are_found_by_where_they_lead() {
        // j .+4 and a byte that is not an instruction; call8 .+4; callx8 a8
        let code = [0x06, 0, 0, 0x01, 0xa5, 0, 0, 0xe0, 0x08, 0];
        let through_register = (0x100a, None);
        assert_eq!(calls(&code, 0x1000), [through_register]);
        let both = [(0x1007, Some(0x1010)), through_register];
        assert_eq!(calls_to(&code, 0x1000, 0x1010), both);
    }

    #[test]
    fn returns_and_truncated_instructions_are_not_calls() {
        // retw, ret, jx a0
        assert_eq!(calls(&[0x90, 0, 0, 0x80, 0, 0, 0xa0, 0, 0], 0), []);
        assert_eq!(calls(&[0x25, 0], 0), []);
        assert!(!is_entry(&[0x36, 0x41]));
    }
}
