//! Unwinding of Xtensa by its register windows (Xtensa ISA, "Windowed Register Option").
//!
//! The four lowest registers of a caller are below the stack pointer of the function that it
//! called: the panic handler and the task switch have put them there. No call frame information is
//! needed.

#[cfg(test)]
mod tests;

use super::{Backtrace, Before, End, Frame, FrameRegisters, MAX_FRAMES, Trust, stack_end};
use crate::code::{Code, is_rom};
use crate::dump::{Memory, XtensaRegisters};

/// Return addresses have 30 bits of the address; the other two are the window increment.
const WITHIN_REGION: u32 = 0x3FFF_FFFF;
const INCREMENT_SHIFT: u32 = 30;
/// The quarter of the address space with all code (technical reference manuals, system and memory).
const CODE_REGION: u32 = 0x4000_0000;
/// `PS.WOE`: whether the current function uses windows.
const WINDOWS_ENABLED: u32 = 1 << 18;
/// `PS.CALLINC`: by how far `ENTRY` will move the window.
const CALL_INCREMENT_SHIFT: u32 = 16;
/// a0 of the caller is this far below the stack pointer of a function, a1 follows it.
const SAVED: u32 = 16;
/// Of stack pointers (Xtensa ABI).
const ALIGNMENT: u32 = 16;
/// Size of the frame of a task that yielded (ESP-IDF `xtensa_context.h`, `XT_SOL_FRMSZ`).
const SOLICITED_FRAME: u32 = 32;

/// Where a function continues, and its a0 and a1.
#[derive(Debug, Clone, Copy)]
struct State {
    pc: u32,
    a0: u32,
    sp: u32,
}

pub(super) struct Unwinder<'a> {
    memory: &'a Memory<'a>,
    code: &'a dyn Code,
}

impl<'a> Unwinder<'a> {
    pub(super) fn new(memory: &'a Memory<'a>, code: &'a dyn Code) -> Self {
        Self { memory, code }
    }

    /// From the registers of an interrupted function.
    pub(super) fn unwind(&self, registers: &XtensaRegisters) -> Backtrace {
        let [a0, sp, ..] = registers.window;
        let state = State { pc: registers.pc, a0, sp };
        let mut first = Frame::new(registers.pc, sp, Trust::Context);
        first.registers = window_of(&registers.window);
        if let Some(return_address) = self.before_entry(registers) {
            // The window is still that of the caller; that of the function is further up.
            let entered = window_at_entry(registers.ps);
            let pc = in_region(return_address, registers.pc);
            return if is_null(return_address) {
                Backtrace { frames: vec![first], end: End::Bottom }
            } else if self.is_return_address(pc) {
                first.registers = window_of(registers.window.get(entered..).unwrap_or_default());
                let mut caller = Frame::new(pc, sp, Trust::Window);
                caller.registers = window_of(&registers.window);
                self.follow_windows(vec![first, caller], State { pc, ..state })
            } else {
                Backtrace { frames: vec![first], end: End::Lost }
            };
        }
        if registers.ps & WINDOWS_ENABLED == 0 || (a0 >> INCREMENT_SHIFT == 0 && !is_null(a0)) {
            return self.without_windows(first, a0);
        }
        self.follow_windows(vec![first], state)
    }

    /// From the frame of a task that yielded, at `address`. Its pc is a return address, and a0 and
    /// a1 are those of the caller of the function that yielded. The a0 of that function is below
    /// the frame, which a dump of the stack of a task does not contain.
    pub(super) fn unwind_yielded(&self, registers: &XtensaRegisters, address: u32) -> Backtrace {
        let sp = address.wrapping_add(SOLICITED_FRAME);
        let mut first = Frame::new(registers.pc, sp, Trust::Context);
        first.returned_to = true;
        if let Some(state) = self.saved_below(address)
            && state.sp == sp
        {
            return self.follow_windows(vec![first], State { pc: registers.pc, ..state });
        }
        let [a0, caller_sp, ..] = registers.window;
        let lost = State { pc: registers.pc, a0, sp: caller_sp };
        if caller_sp <= sp {
            return Backtrace { frames: vec![first], end: End::Lost };
        }
        let mut trace = self.follow_windows(vec![first], lost);
        if let Some(frame) = trace.frames.get_mut(1) {
            frame.before = Some(Before::LostFrame);
        }
        trace
    }

    /// The return address, if the function is about to execute its `ENTRY`, or if a call led to an
    /// address without code. The former includes tasks that never started, whose return address is
    /// 0.
    fn before_entry(&self, registers: &XtensaRegisters) -> Option<u32> {
        let return_address = *registers.window.get(window_at_entry(registers.ps))?;
        if self.code.rule(registers.pc).is_some() {
            return Some(return_address);
        }
        let nowhere = !self.points_to_code(registers.pc.wrapping_add(1));
        let called = || self.code.call_before(in_region(return_address, registers.pc)).is_some();
        (nowhere && called()).then_some(return_address)
    }

    /// Code of the call0 convention has its return address in a0. The a0 of its caller can be
    /// anywhere.
    fn without_windows(&self, first: Frame, a0: u32) -> Backtrace {
        let caller = in_region(a0, first.pc);
        let mut frames = vec![first];
        if caller != first.pc && self.code.call_before(caller).is_some() {
            frames.push(Frame::new(caller, first.sp, Trust::Leaf));
        }
        Backtrace { frames, end: End::NoWindows }
    }

    /// Goes up window by window from the last of `frames`, which is that of `state`.
    fn follow_windows(&self, mut frames: Vec<Frame>, mut state: State) -> Backtrace {
        let mut trust = Trust::Window;
        while frames.len() < MAX_FRAMES {
            if is_null(state.a0) {
                return Backtrace { frames, end: End::Bottom };
            }
            if state.a0 >> INCREMENT_SHIFT == 0 {
                return Backtrace { frames, end: End::NoWindows };
            }
            let pc = in_region(state.a0, state.pc);
            let Some(saved) = self.saved_below(state.sp) else { break };
            if !self.is_outer_frame(state.sp, saved.sp) || !self.points_to_code(pc) {
                break;
            }
            // After a return address that follows no call, the rest is only plausible.
            if !self.is_return_address(pc) {
                trust = Trust::Scan;
            }
            if let Some(callee) = frames.last_mut() {
                callee.registers.frame_address = Some(saved.sp);
            }
            let increment = state.a0 >> INCREMENT_SHIFT;
            let mut frame = Frame::new(pc, saved.sp, trust);
            frame.registers = self.saved_window(state.sp, saved.sp, increment);
            frames.push(frame);
            state = State { pc, ..saved };
        }
        Backtrace { frames, end: End::Lost }
    }

    /// The registers of the caller that are saved for a function called with this stack pointer.
    fn saved_below(&self, sp: u32) -> Option<State> {
        let a0 = self.memory.word(sp.checked_sub(SAVED)?)?;
        let caller_sp = self.memory.word(sp.checked_sub(SAVED - 4)?)?;
        Some(State { pc: 0, a0, sp: caller_sp })
    }

    /// The registers of a function that called one with this stack pointer: a0 to a3 are below
    /// that, the other ones that the callee does not use are below the stack pointer of its own
    /// caller.
    fn saved_window(&self, callee: u32, sp: u32, increment: u32) -> FrameRegisters {
        let mut registers = FrameRegisters::default();
        let word = |address: u32, below: u32| self.memory.word(address.checked_sub(below)?);
        for number in 0..4_u8 {
            registers.set(number, word(callee, SAVED - 4 * u32::from(number)));
        }
        let (Some(last @ 7..), Some(caller_sp)) = (
            u8::try_from(4 * increment).ok().and_then(|moved| moved.checked_sub(1)),
            word(sp, SAVED - 4),
        ) else {
            return registers;
        };
        let lowest = SAVED + 4 * u32::from(last - 3);
        for number in 4..=last {
            registers.set(number, word(caller_sp, lowest - 4 * u32::from(number - 4)));
        }
        registers
    }

    /// The frame of a caller is above, in the same stack.
    fn is_outer_frame(&self, from: u32, to: u32) -> bool {
        let within = stack_end(self.memory, from).is_none_or(|end| u64::from(to) <= end);
        to > from && to.is_multiple_of(ALIGNMENT) && within
    }

    fn points_to_code(&self, return_address: u32) -> bool {
        let before = return_address.wrapping_sub(1);
        self.code.is_code(before) || is_rom(before)
    }

    /// Within a function only an address after a call is a return address.
    fn is_return_address(&self, address: u32) -> bool {
        let before = address.wrapping_sub(1);
        if !self.code.is_code(before) {
            return is_rom(address);
        }
        self.code.function_around(before).is_none() || self.code.call_before(address).is_some()
    }
}

/// The register of the window which becomes a0 after `ENTRY`.
fn window_at_entry(ps: u32) -> usize {
    match ps >> CALL_INCREMENT_SHIFT & 3 {
        0 => 0,
        1 => 4,
        2 => 8,
        _ => 12,
    }
}

fn window_of(window: &[u32]) -> FrameRegisters {
    let mut registers = FrameRegisters::default();
    for (number, value) in (0..).zip(window) {
        registers.set(number, Some(*value));
    }
    registers
}

fn is_null(return_address: u32) -> bool {
    return_address & WITHIN_REGION == 0
}

/// Calls stay within a quarter of the address space, except those to an address without code.
fn in_region(return_address: u32, pc: u32) -> u32 {
    let quarter = pc & !WITHIN_REGION;
    return_address & WITHIN_REGION | if quarter == 0 { CODE_REGION } else { quarter }
}
