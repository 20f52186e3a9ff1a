//! Calls and jumps in RISC-V code (RISC-V ISA, volume I: RV32I and extension C).

mod prologue;

use super::{Branches, Call, Jump};
use crate::words::{u16_at, u32_at};

pub(super) use prologue::rule_after;

/// ra and t0, the registers for return addresses.
const RA: u32 = 1;
const T0: u32 = 5;
const AUIPC: u32 = 0x17;
const LUI: u32 = 0x37;
const JALR: u32 = 0x67;
const JAL: u32 = 0x6F;

pub(super) fn branches(code: &[u8], start: u32) -> Branches {
    let mut branches = Branches::default();
    let function = start..start.wrapping_add(u32::try_from(code.len()).unwrap_or(u32::MAX));
    let (mut offset, mut upper) = (0, None);
    while let Some(half) = u16_at(code, offset) {
        let Ok(distance) = u32::try_from(offset) else { break };
        let address = start.wrapping_add(distance);
        let long = half & 3 == 3;
        let branch = if long {
            let Some(word) = u32_at(code, offset) else { break };
            let branch = long_branch(word, address, upper);
            upper = upper_part(word, address);
            branch
        } else {
            upper = None;
            short_branch(half.into(), address)
        };
        offset += if long { 4 } else { 2 };
        let end = address.wrapping_add(if long { 4 } else { 2 });
        match branch {
            Some(Branch::Call(target)) => branches.calls.push(Call { return_address: end, target }),
            Some(Branch::Jump(target)) if !function.contains(&target) => {
                branches.jumps.push(Jump { end, target });
            }
            Some(Branch::Jump(_)) | None => {}
        }
    }
    branches
}

enum Branch {
    /// `None` for a call through a register.
    Call(Option<u32>),
    Jump(u32),
}

/// The value that `auipc` or `lui` put into a register.
#[derive(Clone, Copy)]
struct Upper {
    register: u32,
    value: u32,
}

fn upper_part(word: u32, address: u32) -> Option<Upper> {
    let value = match word & 0x7F {
        AUIPC => address.wrapping_add(word & 0xFFFF_F000),
        LUI => word & 0xFFFF_F000,
        _ => return None,
    };
    Some(Upper { register: word >> 7 & 31, value })
}

fn long_branch(word: u32, address: u32, upper: Option<Upper>) -> Option<Branch> {
    let destination = word >> 7 & 31;
    match word & 0x7F {
        JAL => {
            let target = address.wrapping_add(jal_offset(word));
            match destination {
                RA | T0 => Some(Branch::Call(Some(target))),
                0 => Some(Branch::Jump(target)),
                _ => None,
            }
        }
        JALR => {
            let base = word >> 15 & 31;
            let offset = (word.cast_signed() >> 20).cast_unsigned();
            let upper = upper.filter(|upper| upper.register == base);
            let target = upper.map(|upper| upper.value.wrapping_add(offset) & !1);
            match destination {
                RA | T0 => Some(Branch::Call(target)),
                0 => target.map(Branch::Jump),
                _ => None,
            }
        }
        _ => None,
    }
}

/// imm[20|10:1|11|19:12] in bits 31 to 12.
fn jal_offset(word: u32) -> u32 {
    let sign = (word.cast_signed() >> 11).cast_unsigned() & 0xFFF0_0000;
    sign | word & 0x000F_F000 | word >> 9 & 0x0000_0800 | word >> 20 & 0x0000_07FE
}

/// `c.jal` and `c.j` of quadrant 1, `c.jalr` of quadrant 2.
fn short_branch(half: u32, address: u32) -> Option<Branch> {
    let target = || address.wrapping_add(short_offset(half));
    match (half & 3, half >> 13) {
        (1, 1) => Some(Branch::Call(Some(target()))),
        (1, 5) => Some(Branch::Jump(target())),
        (2, 4) => {
            let (linked, from, other) = (half >> 12 & 1, half >> 7 & 31, half >> 2 & 31);
            (linked == 1 && from != 0 && other == 0).then_some(Branch::Call(None))
        }
        _ => None,
    }
}

/// imm[11|4|9:8|10|6|7|3:1|5] in bits 12 to 2.
fn short_offset(half: u32) -> u32 {
    let bit = |from: u32, to: u32| (half >> from & 1) << to;
    let offset = bit(12, 11)
        | bit(11, 4)
        | bit(10, 9)
        | bit(9, 8)
        | bit(8, 10)
        | bit(7, 6)
        | bit(6, 7)
        | (half >> 3 & 7) << 1
        | bit(2, 5);
    if half >> 12 & 1 == 1 { offset | 0xFFFF_F000 } else { offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `riscv64-unknown-elf-as -march=rv32imc` encodes it at 0x1000.
    fn check(halves: &[u16], calls: &[(u32, Option<u32>)], jumps: &[(u32, u32)]) {
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let found = branches(&code, 0x1000);
        let calls = calls.iter().map(|&(return_address, target)| Call { return_address, target });
        let jumps = jumps.iter().map(|&(end, target)| Jump { end, target });
        assert_eq!(found, Branches { calls: calls.collect(), jumps: jumps.collect() });
    }

    #[test]
    fn direct_calls_and_jumps() {
        // jal ra, .+0x800; j .-0x100 (jal x0); nop
        check(&[0x00ef, 0x0010], &[(0x1004, Some(0x1800))], &[]);
        check(&[0xf06f, 0xf01f], &[], &[(0x1004, 0x0f00)]);
        // c.jal .+0x20, c.j .-2
        check(&[0x2005], &[(0x1002, Some(0x1020))], &[]);
        check(&[0xbffd], &[], &[(0x1002, 0x0ffe)]);
    }

    #[test]
    fn calls_through_registers() {
        // c.jalr a5; jalr ra, 4(a5)
        check(&[0x9782], &[(0x1002, None)], &[]);
        check(&[0x80e7, 0x0047], &[(0x1004, None)], &[]);
        // c.jr ra is a return, c.add is not a call
        check(&[0x8082, 0x97ba], &[], &[]);
    }

    #[test]
    fn far_calls_and_jumps_in_two_instructions() {
        // auipc ra,0x1; jalr ra,-16(ra)
        check(&[0x1097, 0x0000, 0x80e7, 0xff00], &[(0x1008, Some(0x1ff0))], &[]);
        // lui t1,0x40000; jalr x0,8(t1)
        check(&[0x0337, 0x4000, 0x0067, 0x0083], &[], &[(0x1008, 0x4000_0008)]);
        // An instruction between them makes the target unknown.
        check(&[0x1097, 0x0000, 0x0001, 0x80e7, 0xff00], &[(0x100a, None)], &[]);
    }

    #[test]
    fn jumps_within_the_function_are_left_out() {
        // c.j .+4; c.nop; c.nop
        check(&[0xa011, 0x0001, 0x0001], &[], &[]);
    }
}
