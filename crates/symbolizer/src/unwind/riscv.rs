//! Unwinding of RISC-V by call frame information.

#[cfg(test)]
mod tests;

use super::{Backtrace, Frame, MOST_FRAMES, Trust, stack_end};
use crate::code::{Call, Code};
use crate::dump::{Memory, RiscvRegisters};
use crate::elf::{SavedAt, UnwindRule};

/// ra and sp.
const RA: u8 = 1;
const SP: u8 = 2;
/// gp, tp, s0, s1 and s2 to s11: kept by functions that say nothing of them.
const KEPT: [u8; 14] = [3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
/// How far above the stack pointer of a function without call frame information its caller is
/// looked for, in bytes.
const SCANNED: u32 = 4096;
/// Stacks are aligned so (RISC-V psABI).
const ALIGNMENT: u32 = 16;
/// Places where the frame behind a return address may begin.
const BEGINNINGS: u32 = 6;
/// A chain that ends within so many bytes of the stack's end has reached it.
const NEAR_END: u64 = 256;
/// Chains that are tried for one gap.
const MOST_TRIES: usize = 512;

pub(super) struct Unwinder<'a> {
    memory: &'a Memory<'a>,
    code: &'a dyn Code,
}

/// Registers of a frame, as far as they are known.
#[derive(Debug, Clone, Copy)]
struct State {
    pc: u32,
    values: [u32; 32],
    /// A bit for each register that is known.
    known: u32,
}

/// What the rule of a frame leads to.
enum Step {
    Caller(State),
    /// The first frame of a task.
    Bottom,
    /// There is no rule, or it does not fit.
    Lost,
}

/// How good a chain that was found by searching is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    Weak,
    Strong,
}

impl<'a> Unwinder<'a> {
    pub(super) fn new(memory: &'a Memory<'a>, code: &'a dyn Code) -> Self {
        Self { memory, code }
    }

    pub(super) fn unwind(&self, context: &RiscvRegisters) -> Backtrace {
        let mut state = State::of(context);
        let mut frames = vec![state.frame(Trust::Context)];
        while frames.len() < MOST_FRAMES {
            let first = frames.len() == 1;
            let (next, trust) = match self.step(&state, first) {
                Step::Bottom => return Backtrace { frames, truncated: false },
                Step::Caller(next) => (next, Trust::Cfi),
                Step::Lost => match self.without_rule(&state, first) {
                    Some(found) => found,
                    None => return Backtrace { frames, truncated: true },
                },
            };
            frames.push(next.frame(trust));
            state = next;
        }
        Backtrace { frames, truncated: true }
    }

    /// By the rule of the frame.
    fn step(&self, state: &State, first: bool) -> Step {
        let lookup = if first { state.pc } else { state.pc.wrapping_sub(1) };
        let Some(rule) = self.code.rule(lookup) else { return Step::Lost };
        if rule.return_address == SavedAt::Nowhere {
            return Step::Bottom;
        }
        let Some(next) = self.caller_by(&rule, state) else { return Step::Lost };
        if next.pc == 0 {
            return if self.is_near_end(state) { Step::Bottom } else { Step::Lost };
        }
        if self.is_return_address(next.pc) && self.goes_up(state, &next, first) {
            Step::Caller(next)
        } else {
            Step::Lost
        }
    }

    fn caller_by(&self, rule: &UnwindRule, state: &State) -> Option<State> {
        let (register, offset) = rule.cfa;
        let cfa = state.register(register)?.wrapping_add_signed(offset);
        let pc = self.value(rule.return_address, (RA, cfa), state)?;
        let mut next = State { pc, values: [0; 32], known: 0 };
        for kept in KEPT {
            next.set(kept, state.register(kept));
        }
        for (register, at) in &rule.saved {
            next.set(*register, self.value(*at, (*register, cfa), state));
        }
        next.set(SP, Some(cfa));
        next.set(RA, None);
        Some(next)
    }

    fn value(&self, at: SavedAt, (register, cfa): (u8, u32), state: &State) -> Option<u32> {
        match at {
            SavedAt::Nowhere => None,
            SavedAt::Same => state.register(register),
            SavedAt::Offset(offset) => self.memory.word(cfa.wrapping_add_signed(offset)),
            SavedAt::Value(offset) => Some(cfa.wrapping_add_signed(offset)),
            SavedAt::Register(other) => state.register(other),
        }
    }

    /// A caller's frame lies above, in the same stack. Only a function that has no frame of its own
    /// has that of its caller.
    fn goes_up(&self, state: &State, next: &State, first: bool) -> bool {
        let (Some(from), Some(to)) = (state.register(SP), next.register(SP)) else { return false };
        let within = stack_end(self.memory, from).is_none_or(|end| u64::from(to) <= end);
        within && (to > from || first && to == from)
    }

    /// Within a function only what follows a call is one.
    fn is_return_address(&self, address: u32) -> bool {
        let before = address.wrapping_sub(1);
        if !self.code.is_code(before) {
            return is_rom(address);
        }
        self.code.function_around(before).is_none() || self.code.call_before(address).is_some()
    }

    /// Tasks of frameworks that mark no first frame return to 0 there; overwritten stacks anywhere.
    fn is_near_end(&self, state: &State) -> bool {
        let Some(sp) = state.register(SP) else { return false };
        let end = stack_end(self.memory, sp);
        end.is_some_and(|end| end.saturating_sub(sp.into()) <= NEAR_END)
    }

    /// The caller of a function nothing is known of, as one in ROM or a jump into nowhere.
    fn without_rule(&self, state: &State, first: bool) -> Option<(State, Trust)> {
        let lookup = if first { state.pc } else { state.pc.wrapping_sub(1) };
        if self.code.rule(lookup).is_some() {
            return None;
        }
        if first
            && let Some(ra) = state.register(RA)
            && self.code.call_before(ra).is_some_and(|call| self.can_lead_to(call, state.pc))
        {
            let mut next = State { pc: ra, ..*state };
            next.set(RA, None);
            return Some((next, Trust::Leaf));
        }
        (!self.code.is_code(state.pc)).then(|| self.scan(state)).flatten()
    }

    /// A direct call tells where it leads.
    fn can_lead_to(&self, call: Call, pc: u32) -> bool {
        let Some(target) = call.target else { return true };
        if self.code.is_code(pc) {
            self.code.function_around(pc).is_some_and(|function| function.start == target)
        } else {
            !self.code.is_code(target)
        }
    }

    /// Looks for a return address on the stack from which all the rest of the stack unwinds.
    fn scan(&self, state: &State) -> Option<(State, Trust)> {
        let sp = state.register(SP)?.checked_next_multiple_of(4)?;
        let mut tries = MOST_TRIES;
        let mut best: Option<((Score, bool), State)> = None;
        for offset in (0..SCANNED).step_by(4) {
            let address = sp.checked_add(offset)?;
            let Some(word) = self.memory.word(address) else { break };
            let Some(call) = self.code.call_before(word) else { continue };
            if !self.can_lead_to(call, state.pc) {
                continue;
            }
            let above = address.checked_add(4)?.checked_next_multiple_of(ALIGNMENT)?;
            for beginning in 0..BEGINNINGS {
                tries = tries.checked_sub(1)?;
                let sp = above.wrapping_add(beginning * ALIGNMENT);
                let candidate = State::searched(word, sp);
                let Some(score) = self.chain(&candidate) else { continue };
                // Of equals the lowest address wins.
                let rank = (score, call.target.is_some());
                if best.as_ref().is_none_or(|(known, _)| *known < rank) {
                    best = Some((rank, candidate));
                }
            }
        }
        best.map(|(_, state)| (state, Trust::Scan))
    }

    /// Whether every return address from here on follows a call, and where the chain ends.
    fn chain(&self, start: &State) -> Option<Score> {
        let mut state = *start;
        for _ in 0..MOST_FRAMES {
            match self.step(&state, false) {
                Step::Bottom => {
                    let rule = self.code.rule(state.pc.wrapping_sub(1))?;
                    let said = rule.return_address == SavedAt::Nowhere;
                    return Some(if said { Score::Strong } else { Score::Weak });
                }
                Step::Caller(next) => {
                    self.code.call_before(next.pc)?;
                    state = next;
                }
                Step::Lost => return None,
            }
        }
        None
    }
}

/// The ROM of any chip (technical reference manuals, system and memory); it is in no firmware.
fn is_rom(address: u32) -> bool {
    const ROM: [std::ops::Range<u32>; 2] = [0x4000_0000..0x4008_0000, 0x4FC0_0000..0x4FC4_0000];
    ROM.iter().any(|rom| rom.contains(&address))
}

impl State {
    fn of(context: &RiscvRegisters) -> Self {
        let mut values = context.0;
        values[0] = 0;
        Self { pc: context.0[0], values, known: u32::MAX }
    }

    /// Nothing is known but where the frame begins.
    fn searched(pc: u32, sp: u32) -> Self {
        let mut state = Self { pc, values: [0; 32], known: 0 };
        state.set(SP, Some(sp));
        state
    }

    fn register(&self, number: u8) -> Option<u32> {
        let value = self.values.get(usize::from(number))?;
        (self.known >> number & 1 == 1).then_some(*value)
    }

    /// Rules tell only registers there are; x0 stays what it is.
    fn set(&mut self, number: u8, value: Option<u32>) {
        let Some(slot) = self.values.get_mut(usize::from(number)) else { return };
        *slot = value.unwrap_or_default();
        let bit = 1 << number;
        self.known = if value.is_some() { self.known | bit } else { self.known & !bit };
    }

    fn frame(&self, trust: Trust) -> Frame {
        Frame { pc: self.pc, sp: self.register(SP).unwrap_or_default(), trust }
    }
}
