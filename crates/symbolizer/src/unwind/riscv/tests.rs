use std::ops::Range;

use super::Unwinder;
use crate::code::{Call, Code, Jump};
use crate::dump::{Memory, RiscVRegisters, Segment};
use crate::elf::{SavedAt, UnwindRule};
use crate::unwind::{Backtrace, End, SearchBudget, Trust};

const STACK: u32 = 0x4081_0000;
const ROM: u32 = 0x4000_1234;
/// A function in a ROM whose ELF is known.
const KNOWN_ROM: Range<u32> = 0x4001_0000..0x4001_0100;
/// First functions of tasks; then two with a frame of 32 bytes, the return address in the last
/// word.
const ENTRY: Range<u32> = 0x4200_0000..0x4200_0100;
const OUTER: Range<u32> = 0x4200_0100..0x4200_0200;
const INNER: Range<u32> = 0x4200_0200..0x4200_0300;
/// Without call frame information, like assembler code.
const BARE: Range<u32> = 0x4200_0300..0x4200_0400;

/// Saves registers for its caller: its return address is in t0, that of its caller in ra.
const SAVE: Range<u32> = 0x4200_0400..0x4200_0500;

/// Return address and target of each call.
struct Firmware(Vec<(u32, Option<u32>)>);

impl Code for Firmware {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        let return_address = match address {
            _ if ENTRY.contains(&address) => SavedAt::Nowhere,
            _ if OUTER.contains(&address) || INNER.contains(&address) => SavedAt::AtCfaOffset(-4),
            _ if SAVE.contains(&address) => {
                let (return_address_register, return_address) = (5, SavedAt::Same);
                return Some(UnwindRule {
                    cfa: (2, 0),
                    return_address_register,
                    return_address,
                    saved: Vec::new(),
                });
            }
            _ => return None,
        };
        Some(UnwindRule {
            cfa: (2, 32),
            return_address_register: 1,
            return_address,
            saved: Vec::new(),
        })
    }

    fn prologue(&self, address: u32) -> Option<UnwindRule> {
        let saved = SavedAt::AtCfaOffset(-4);
        let rule = UnwindRule {
            cfa: (2, 48),
            return_address_register: 1,
            return_address: saved,
            saved: Vec::new(),
        };
        KNOWN_ROM.contains(&address).then_some(rule)
    }

    fn is_code(&self, address: u32) -> bool {
        (ENTRY.start..SAVE.end).contains(&address)
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let call = self.0.iter().find(|(known, _)| *known == return_address);
        call.map(|&(return_address, target)| Call { return_address, target })
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        [ENTRY, OUTER, INNER, BARE, SAVE].into_iter().find(|function| function.contains(&address))
    }

    fn jumps_out_of(&self, _function: Range<u32>) -> Vec<Jump> {
        Vec::new()
    }
}

/// `ENTRY` called `OUTER`; `OUTER` called something in ROM; `INNER` calls through a pointer.
fn firmware() -> Firmware {
    Firmware(vec![
        (ENTRY.start + 8, Some(OUTER.start)),
        (OUTER.start + 8, Some(ROM - 0x34)),
        (INNER.start + 8, Some(OUTER.start)),
        (OUTER.start + 16, None),
        (OUTER.start + 24, Some(SAVE.start)),
    ])
}

/// A stack of 256 words, zero except for these.
fn unwind(registers: [(usize, u32); 3], words: &[(usize, u32)]) -> Backtrace {
    unwind_within(&SearchBudget::default(), registers, words)
}

fn unwind_within(
    budget: &SearchBudget,
    registers: [(usize, u32); 3],
    words: &[(usize, u32)],
) -> Backtrace {
    let mut stack = [0; 1024];
    for (place, word) in words {
        stack[4 * place..4 * place + 4].copy_from_slice(&word.to_le_bytes());
    }
    let mut context = [0; 32];
    for (number, value) in registers {
        context[number] = value;
    }
    let memory = Memory::new([Segment { start: STACK, bytes: &stack }]);
    Unwinder::new(&memory, &firmware(), budget).unwind(&RiscVRegisters(context))
}

fn check(trace: &Backtrace, expected: &[(u32, Trust)]) {
    let frames: Vec<_> = trace.frames.iter().map(|frame| (frame.pc, frame.trust)).collect();
    assert_eq!(frames, expected);
}

const PC: usize = 0;
const RA: usize = 1;
const SP: usize = 2;

#[test]
fn a_function_in_rom_that_has_not_saved_its_return_address() {
    let registers = [(PC, ROM), (RA, OUTER.start + 8), (SP, STACK)];
    let trace = unwind(registers, &[(7, ENTRY.start + 8)]);
    check(
        &trace,
        &[(ROM, Trust::Context), (OUTER.start + 8, Trust::Leaf), (ENTRY.start + 8, Trust::Cfi)],
    );
    assert_eq!(trace.end, End::Bottom);
}

#[test]
fn the_caller_of_a_function_in_rom_is_searched_and_marked() {
    // 16 bytes of the function in ROM, then the frame of OUTER.
    let registers = [(PC, ROM), (RA, 0), (SP, STACK)];
    let trace = unwind(registers, &[(3, OUTER.start + 8), (11, ENTRY.start + 8)]);
    check(
        &trace,
        &[(ROM, Trust::Context), (OUTER.start + 8, Trust::Scan), (ENTRY.start + 8, Trust::Cfi)],
    );
}

#[test]
fn return_addresses_of_earlier_calls_are_not_taken_for_the_caller() {
    let registers = [(PC, ROM), (RA, 0), (SP, STACK)];
    // A call to a function of the firmware cannot have led into ROM, and neither can one from which
    // the rest of the stack cannot be unwound.
    let stale = [(1, INNER.start + 8), (2, OUTER.start + 16)];
    let real = [(7, OUTER.start + 8), (15, ENTRY.start + 8)];
    // Together they can be unwound in two ways, so the frames above are not certain.
    let trace = unwind(registers, &[&stale[..], &real].concat());
    check(
        &trace,
        &[(ROM, Trust::Context), (OUTER.start + 8, Trust::Scan), (ENTRY.start + 8, Trust::Scan)],
    );
    check(&unwind(registers, &stale), &[(ROM, Trust::Context)]);
}

#[test]
fn a_jump_to_an_address_without_code_shows_its_caller() {
    let registers = [(PC, 0), (RA, OUTER.start + 16), (SP, STACK)];
    let trace = unwind(registers, &[(7, ENTRY.start + 8)]);
    check(
        &trace,
        &[(0, Trust::Context), (OUTER.start + 16, Trust::Leaf), (ENTRY.start + 8, Trust::Cfi)],
    );
}

#[test]
fn the_caller_of_a_function_without_rules_must_be_able_to_reach_it() {
    let pc = BARE.start + 20;
    let by_pointer = [(PC, pc), (RA, OUTER.start + 16), (SP, STACK)];
    assert_eq!(unwind(by_pointer, &[(7, ENTRY.start + 8)]).frames.len(), 3);
    let by_another_call = [(PC, pc), (RA, INNER.start + 8), (SP, STACK)];
    let trace = unwind(by_another_call, &[(7, ENTRY.start + 8)]);
    check(&trace, &[(pc, Trust::Context)]);
    assert_eq!(trace.end, End::Lost);
}

#[test]
fn a_return_address_in_rom_in_the_middle_is_a_frame() {
    let registers = [(PC, INNER.start + 4), (RA, 0), (SP, STACK)];
    let words = [(7, ROM), (11, OUTER.start + 8), (19, ENTRY.start + 8)];
    check(
        &unwind(registers, &words),
        &[
            (INNER.start + 4, Trust::Context),
            (ROM, Trust::Cfi),
            (OUTER.start + 8, Trust::Scan),
            (ENTRY.start + 8, Trust::Cfi),
        ],
    );
}

#[test]
fn a_function_in_rom_that_has_moved_the_stack_makes_later_frames_uncertain() {
    // ra is still right, and the stack can be unwound from here and from 16 bytes above.
    let registers = [(PC, ROM), (RA, OUTER.start + 8), (SP, STACK)];
    let words = [(7, INNER.start + 8), (11, ENTRY.start + 8), (15, ENTRY.start + 8)];
    let trace = unwind(registers, &words);
    let trusts: Vec<_> = trace.frames.iter().map(|frame| frame.trust).collect();
    assert_eq!(trusts[..2], [Trust::Context, Trust::Leaf]);
    assert!(trusts.len() > 2 && trusts[2..].iter().all(|trust| *trust == Trust::Scan));
}

#[test]
fn a_function_that_saves_registers_for_its_caller_returns_by_another_register() {
    let stack: Vec<u8> = vec![0; 1024];
    let mut context = [0; 32];
    (context[PC], context[RA], context[SP]) = (SAVE.start + 4, ENTRY.start + 8, STACK);
    context[5] = OUTER.start + 24;
    let memory = Memory::new([Segment { start: STACK, bytes: &stack }]);
    let trace = Unwinder::new(&memory, &firmware(), &SearchBudget::default())
        .unwind(&RiscVRegisters(context));
    check(&trace, &[(SAVE.start + 4, Trust::Context), (OUTER.start + 24, Trust::Cfi)]);
}

#[test]
fn all_tasks_of_a_dump_share_one_search_budget() {
    let registers = [(PC, ROM), (RA, 0), (SP, STACK)];
    let words = [(3, OUTER.start + 8), (11, ENTRY.start + 8)];
    let budget = SearchBudget::default();
    let mut traces = (0..2_000).map(|_| unwind_within(&budget, registers, &words));
    assert_eq!(traces.next().unwrap().frames.len(), 3);
    let last = traces.last().unwrap();
    check(&last, &[(ROM, Trust::Context)]);
    assert_eq!(last.end, End::Lost);
}

#[test]
fn a_function_in_a_known_rom_is_unwound_by_its_first_instructions() {
    let registers = [(PC, KNOWN_ROM.start + 4), (RA, 0), (SP, STACK)];
    let trace = unwind(registers, &[(11, OUTER.start + 8), (19, ENTRY.start + 8)]);
    check(
        &trace,
        &[
            (KNOWN_ROM.start + 4, Trust::Context),
            (OUTER.start + 8, Trust::Prologue),
            (ENTRY.start + 8, Trust::Cfi),
        ],
    );
    // The return address follows no call, so the stack is searched instead.
    let trace =
        unwind(registers, &[(7, OUTER.start + 8), (11, OUTER.start + 9), (15, ENTRY.start + 8)]);
    assert_eq!(trace.frames[1].trust, Trust::Scan);
}
