use std::ops::Range;

use super::Unwinder;
use crate::code::{Call, Code, Jump};
use crate::dump::{Memory, Segment, XtensaRegisters};
use crate::elf::{SavedAt, UnwindRule};
use crate::unwind::{Backtrace, Before, End, Frame, Trust};

const STACK: u32 = 0x3FFB_0000;
const STACK_BYTES: usize = 512;
/// With windows, in the order in which they call each other.
const TASK: Range<u32> = 0x400D_0000..0x400D_0100;
const OUTER: Range<u32> = 0x400D_0100..0x400D_0200;
const INNER: Range<u32> = 0x400D_0200..0x400D_0300;
/// Windows enabled; user mode.
const PS: u32 = 0x0006_0020;
/// `CALL8`
const CALL8: u32 = 2;

/// Each function has a call whose return address is 8 bytes after its start.
struct Firmware;

impl Code for Firmware {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        let rule = UnwindRule {
            cfa: (1, 0),
            return_address_register: 0,
            return_address: SavedAt::Same,
            saved: vec![],
        };
        [TASK, OUTER, INNER].iter().any(|function| function.start == address).then_some(rule)
    }

    fn is_code(&self, address: u32) -> bool {
        (TASK.start..INNER.end).contains(&address)
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let calls = [TASK, OUTER, INNER].map(|function| function.start + 8);
        let target = None;
        calls.contains(&return_address).then_some(Call { return_address, target })
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        [TASK, OUTER, INNER].into_iter().find(|function| function.contains(&address))
    }

    fn jumps_out_of(&self, _function: Range<u32>) -> Vec<Jump> {
        Vec::new()
    }
}

/// As a call instruction writes it.
fn linked(return_address: u32, increment: u32) -> u32 {
    return_address & 0x3FFF_FFFF | increment << 30
}

/// A stack that is zero except for these words.
fn stack(words: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; STACK_BYTES];
    for (address, word) in words {
        let at = usize::try_from(address - STACK).unwrap();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The words that `INNER`, `OUTER` and `TASK` save below the frames of their callees.
fn saved() -> Vec<(u32, u32)> {
    vec![
        (STACK + 0x40 - 16, linked(TASK.start + 8, CALL8)),
        (STACK + 0x40 - 12, STACK + 0x60),
        (STACK + 0x60 - 16, 0),
        (STACK + 0x60 - 12, STACK + 0x80),
    ]
}

fn inner() -> XtensaRegisters {
    let mut registers = XtensaRegisters { pc: INNER.start + 0x20, ps: PS, ..Default::default() };
    registers.window[0] = linked(OUTER.start + 8, CALL8);
    registers.window[1] = STACK + 0x40;
    registers
}

fn unwind(registers: &XtensaRegisters, words: &[(u32, u32)]) -> Backtrace {
    let stack = stack(words);
    let memory = Memory::new([Segment { start: STACK, bytes: &stack }]);
    Unwinder::new(&memory, &Firmware).unwind(registers)
}

fn places(trace: &Backtrace) -> Vec<(u32, Trust)> {
    trace.frames.iter().map(|frame| (frame.pc, frame.trust)).collect()
}

#[test]
fn windows_lead_to_the_first_function_of_the_task() {
    let trace = unwind(&inner(), &saved());
    assert_eq!(
        places(&trace),
        [
            (INNER.start + 0x20, Trust::Context),
            (OUTER.start + 8, Trust::Window),
            (TASK.start + 8, Trust::Window),
        ]
    );
    assert_eq!(trace.end, End::Bottom);
    assert_eq!(trace.frames.iter().map(|frame| frame.sp).max(), Some(STACK + 0x80));
}

#[test]
fn before_its_entry_a_function_has_the_window_of_its_caller() {
    let mut registers = inner();
    registers.pc = INNER.start;
    registers.ps = PS & !0x0003_0000 | CALL8 << 16;
    registers.window[8] = linked(OUTER.start + 8, CALL8);
    registers.window[0] = linked(TASK.start + 8, CALL8);
    registers.window[1] = STACK + 0x60;
    let trace = unwind(&registers, &[(STACK + 0x60 - 12, STACK + 0x80)]);
    let expected = [
        (INNER.start, Trust::Context),
        (OUTER.start + 8, Trust::Window),
        (TASK.start + 8, Trust::Window),
    ];
    assert_eq!((&places(&trace)[..], trace.end), (&expected[..], End::Bottom));
}

#[test]
fn a_call_through_a_null_pointer_shows_its_caller() {
    let mut registers = inner();
    registers.pc = 0;
    registers.ps = PS & !0x0003_0000 | CALL8 << 16;
    registers.window[8] = linked(INNER.start + 8, CALL8);
    let trace = unwind(&registers, &saved());
    let expected = [
        (0, Trust::Context),
        (INNER.start + 8, Trust::Window),
        (OUTER.start + 8, Trust::Window),
        (TASK.start + 8, Trust::Window),
    ];
    assert_eq!((&places(&trace)[..], trace.end), (&expected[..], End::Bottom));
}

#[test]
fn a_task_that_never_started_has_one_frame() {
    let mut registers = inner();
    (registers.pc, registers.ps) = (TASK.start, PS & !0x0003_0000 | 1 << 16);
    registers.window = [0; 16];
    registers.window[1] = STACK + 0x40;
    let trace = unwind(&registers, &[]);
    assert_eq!((trace.frames.len(), trace.end), (1, End::Bottom));
}

#[test]
fn code_without_windows_shows_its_caller_and_no_more() {
    let mut registers = inner();
    registers.ps = PS & !(1 << 18);
    registers.window[0] = OUTER.start + 8;
    let trace = unwind(&registers, &saved());
    assert_eq!(
        places(&trace),
        [(INNER.start + 0x20, Trust::Context), (OUTER.start + 8, Trust::Leaf)]
    );
    assert_eq!(trace.end, End::NoWindows);
}

#[test]
fn a_return_address_that_follows_no_call_makes_the_rest_uncertain() {
    let mut registers = inner();
    registers.window[0] = linked(OUTER.start + 9, CALL8);
    let trusts: Vec<_> =
        places(&unwind(&registers, &saved())).into_iter().map(|(_, t)| t).collect();
    assert_eq!(trusts, [Trust::Context, Trust::Scan, Trust::Scan]);
}

#[test]
fn stacks_that_lead_nowhere_end() {
    for (address, word) in [
        (STACK + 0x40 - 12, STACK + 0x40),
        (STACK + 0x40 - 12, STACK + 0x61),
        (STACK + 0x40 - 12, STACK + 0x1000),
        (STACK + 0x40 - 16, 0xA5A5_A5A5),
    ] {
        let trace = unwind(&inner(), &[saved(), vec![(address, word)]].concat());
        assert!(trace.frames.len() <= 2, "{address:#x} {word:#x}");
        assert_eq!(trace.end, End::Lost);
    }
    let mut registers = inner();
    for sp in [0, 3, 15, 16, u32::MAX, STACK - 16] {
        registers.window[1] = sp;
        assert_eq!(unwind(&registers, &saved()).end, End::Lost);
    }
}

#[test]
fn a_task_that_yielded_lacks_one_frame_unless_its_whole_stack_is_in_the_dump() {
    let frame = STACK + 0x20;
    let mut registers = inner();
    registers.pc = INNER.start + 8;
    registers.window = [0; 16];
    registers.window[0] = linked(TASK.start + 8, CALL8);
    registers.window[1] = STACK + 0x60;
    let bottom = [(STACK + 0x60 - 16, 0), (STACK + 0x60 - 12, STACK + 0x80)];
    let unwind = |words: &[(u32, u32)], start: u32| {
        let stack = stack(words);
        let bytes = &stack[usize::try_from(start - STACK).unwrap()..];
        let memory = Memory::new([Segment { start, bytes }]);
        Unwinder::new(&memory, &Firmware).unwind_yielded(&registers, frame)
    };
    let part = unwind(&bottom, frame);
    assert_eq!(places(&part), [(INNER.start + 8, Trust::Context), (TASK.start + 8, Trust::Window)]);
    assert_eq!(part.frames[1].before, Some(Before::LostFrame));
    assert_eq!(part.frames[0].lookup(), INNER.start + 7, "after a call");
    let below = [
        (frame - 16, linked(OUTER.start + 8, CALL8)),
        (frame - 12, frame + 32),
        (frame + 16, linked(TASK.start + 8, CALL8)),
        (frame + 20, STACK + 0x60),
    ];
    let whole = unwind(&[&below[..], &bottom].concat(), STACK);
    let pcs: Vec<u32> = whole.frames.iter().map(|frame| frame.pc).collect();
    assert_eq!(pcs, [INNER.start + 8, OUTER.start + 8, TASK.start + 8]);
    assert!(whole.frames.iter().all(|frame: &Frame| frame.before.is_none()));
    assert_eq!((part.end, whole.end), (End::Bottom, End::Bottom));
}
