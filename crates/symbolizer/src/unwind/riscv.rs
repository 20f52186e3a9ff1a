//! Unwinding of RISC-V by call frame information.

#[cfg(test)]
mod tests;

use super::{Backtrace, End, Frame, FrameRegisters, MAX_FRAMES, SearchBudget, Trust, stack_end};
use crate::code::{Call, Code, is_rom};
use crate::dump::{Memory, RiscVRegisters};
use crate::elf::{SavedAt, UnwindRule};

const RA: u8 = 1;
const SP: u8 = 2;
/// gp, tp, s0, s1 and s2 to s11: unchanged by functions without a rule for them.
const PRESERVED: [u8; 14] = [3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
/// Bytes above the stack pointer that are searched for the caller of a function without call frame
/// information.
const SCAN_BYTES: u32 = 4096;
/// Of stack pointers (RISC-V psABI).
const ALIGNMENT: u32 = 16;
/// Positions that are tried for the frame above a return address.
const MAX_FRAME_STARTS: u32 = 6;
/// A chain that ends this close to the end of the stack, in bytes, has reached it.
const NEAR_END_BYTES: u64 = 256;
/// Chains that are tried for one gap.
const MAX_TRIES: usize = 128;

pub(super) struct Unwinder<'a> {
    memory: &'a Memory<'a>,
    code: &'a dyn Code,
    budget: &'a SearchBudget,
}

#[derive(Debug, Clone, Copy)]
struct State {
    pc: u32,
    registers: FrameRegisters,
}

enum Step {
    Caller(State, Trust),
    /// The frame is the first one of a task.
    Bottom,
    /// There is no rule, or its result is not plausible.
    Lost,
}

/// A caller that was found without a rule.
struct FoundCaller {
    state: State,
    trust: Trust,
    /// The rest of the stack can be unwound in several ways or in none: frames above are no more
    /// certain than those of a search.
    ambiguous: bool,
}

/// How a chain of return addresses ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    /// At a return address of 0.
    Weak,
    /// At a frame which its rule marks as the first one of a task.
    Strong,
}

impl<'a> Unwinder<'a> {
    pub(super) fn new(
        memory: &'a Memory<'a>,
        code: &'a dyn Code,
        budget: &'a SearchBudget,
    ) -> Self {
        Self { memory, code, budget }
    }

    pub(super) fn unwind(&self, context: &RiscVRegisters) -> Backtrace {
        let mut state = State::of(context);
        let mut frames = vec![self.frame(&state, Trust::Context)];
        // Once a caller is ambiguous, the trust in all frames that rules lead to.
        let mut by_rule = None;
        while frames.len() < MAX_FRAMES {
            let first = frames.len() == 1;
            let (next, trust) = match self.step(&state, first) {
                Step::Bottom => {
                    let certain = by_rule.is_none();
                    let end = if certain { End::Bottom } else { End::Lost };
                    return Backtrace { frames, end };
                }
                Step::Caller(next, trust) => (next, by_rule.unwrap_or(trust)),
                Step::Lost => match self.without_rule(&state, first) {
                    Some(found) => {
                        if found.ambiguous {
                            by_rule = Some(Trust::Scan);
                        }
                        (found.state, found.trust)
                    }
                    None => return Backtrace { frames, end: End::Lost },
                },
            };
            frames.push(self.frame(&next, trust));
            state = next;
        }
        Backtrace { frames, end: End::Lost }
    }

    /// With its canonical frame address, if there is a rule.
    fn frame(&self, state: &State, trust: Trust) -> Frame {
        let mut frame = Frame::new(state.pc, state.register(SP).unwrap_or_default(), trust);
        frame.registers = state.registers;
        let rule = self.rule(frame.lookup()).map(|(rule, _)| rule.cfa);
        frame.registers.frame_address = rule.and_then(|(register, offset)| {
            Some(state.register(register)?.wrapping_add_signed(offset))
        });
        frame
    }

    /// Follows the rule of the frame.
    fn step(&self, state: &State, first: bool) -> Step {
        let lookup = if first { state.pc } else { state.pc.wrapping_sub(1) };
        let Some((rule, trust)) = self.rule(lookup) else { return Step::Lost };
        if rule.return_address == SavedAt::Nowhere {
            return Step::Bottom;
        }
        let Some(next) = self.caller_by(&rule, state) else { return Step::Lost };
        if next.pc == 0 {
            return if self.is_near_end(state) { Step::Bottom } else { Step::Lost };
        }
        // A function that has no frame yet has the stack pointer of its caller.
        let frameless = first || rule.return_address == SavedAt::Same;
        let plausible = match trust {
            Trust::Prologue => self.code.call_before(next.pc).is_some(),
            _ => self.is_return_address(next.pc),
        };
        if plausible && self.is_outer_frame(state, &next, frameless) {
            Step::Caller(next, trust)
        } else {
            Step::Lost
        }
    }

    /// By call frame information, otherwise by the first instructions of the function.
    fn rule(&self, lookup: u32) -> Option<(UnwindRule, Trust)> {
        let by_prologue = || Some((self.code.prologue(lookup)?, Trust::Prologue));
        self.code.rule(lookup).map(|rule| (rule, Trust::Cfi)).or_else(by_prologue)
    }

    fn caller_by(&self, rule: &UnwindRule, state: &State) -> Option<State> {
        let (register, offset) = rule.cfa;
        let cfa = state.register(register)?.wrapping_add_signed(offset);
        let pc = self.value(rule.return_address, rule.return_address_register, cfa, state)?;
        let mut next = State { pc, registers: FrameRegisters::default() };
        for register in PRESERVED {
            next.set(register, state.register(register));
        }
        for (register, at) in &rule.saved {
            next.set(*register, self.value(*at, *register, cfa, state));
        }
        next.set(SP, Some(cfa));
        // A function that saves registers for its caller leaves ra unchanged.
        let ra = if rule.return_address_register == RA {
            None
        } else {
            next.register(RA).or(state.register(RA))
        };
        next.set(RA, ra);
        Some(next)
    }

    fn value(&self, at: SavedAt, register: u8, cfa: u32, state: &State) -> Option<u32> {
        match at {
            SavedAt::Nowhere => None,
            SavedAt::Same => state.register(register),
            SavedAt::AtCfaOffset(offset) => self.memory.word(cfa.wrapping_add_signed(offset)),
            SavedAt::CfaPlus(offset) => Some(cfa.wrapping_add_signed(offset)),
            SavedAt::Register(other) => state.register(other),
        }
    }

    /// The frame of a caller is above, in the same stack.
    fn is_outer_frame(&self, state: &State, next: &State, frameless: bool) -> bool {
        let (Some(from), Some(to)) = (state.register(SP), next.register(SP)) else { return false };
        let within = stack_end(self.memory, from).is_none_or(|end| u64::from(to) <= end);
        within && (to > from || frameless && to == from)
    }

    /// Within a function only an address after a call is a return address.
    fn is_return_address(&self, address: u32) -> bool {
        let before = address.wrapping_sub(1);
        if !self.code.is_code(before) {
            return is_rom(address);
        }
        self.code.function_around(before).is_none() || self.code.call_before(address).is_some()
    }

    /// In frameworks that do not mark the first frame, tasks return to 0 there; on overwritten
    /// stacks a 0 can be anywhere.
    fn is_near_end(&self, state: &State) -> bool {
        let Some(sp) = state.register(SP) else { return false };
        let end = stack_end(self.memory, sp);
        end.is_some_and(|end| end.saturating_sub(sp.into()) <= NEAR_END_BYTES)
    }

    /// The caller of code without a rule, such as a function in ROM or the target of a wild jump.
    fn without_rule(&self, state: &State, first: bool) -> Option<FoundCaller> {
        let lookup = if first { state.pc } else { state.pc.wrapping_sub(1) };
        if self.code.rule(lookup).is_some() {
            return None;
        }
        if first
            && let Some(ra) = state.register(RA)
            && self.code.call_before(ra).is_some_and(|call| self.may_reach(call, state.pc))
            && !self.is_within_function(ra, state.pc)
        {
            return Some(self.leaf(state, ra));
        }
        (!self.code.is_code(state.pc)).then(|| self.scan(state)).flatten()
    }

    /// The return address is in a register. Whether the function has moved the stack pointer
    /// already follows from the rest of the stack, if that can be unwound in one way only.
    fn leaf(&self, state: &State, ra: u32) -> FoundCaller {
        let mut unmoved = State { pc: ra, ..*state };
        unmoved.set(RA, None);
        let sp = state.register(SP).unwrap_or_default();
        let moved = |steps: u32| State::searched(ra, sp.wrapping_add(steps * ALIGNMENT));
        let callers = std::iter::once(unmoved).chain((1..MAX_FRAME_STARTS).map(moved));
        let mut best: Option<(Score, State)> = None;
        let mut ambiguous = true;
        for caller in callers {
            let Some(score) = self.chain(&caller) else { continue };
            match &best {
                Some((known, _)) if *known > score => {}
                Some((known, _)) if *known == score => ambiguous = true,
                Some(_) | None => {
                    ambiguous = false;
                    best = Some((score, caller));
                }
            }
        }
        let state = best.map_or(unmoved, |(_, caller)| caller);
        FoundCaller { state, trust: Trust::Leaf, ambiguous }
    }

    /// A call leaves its return address in ra after it has returned.
    fn is_within_function(&self, ra: u32, pc: u32) -> bool {
        let function = self.code.function_around(pc);
        function.is_some_and(|function| function.contains(&ra.wrapping_sub(1)))
    }

    /// The target of a direct call is known.
    fn may_reach(&self, call: Call, pc: u32) -> bool {
        let Some(target) = call.target else { return true };
        if self.code.is_code(pc) {
            self.code.function_around(pc).is_some_and(|function| function.start == target)
        } else {
            !self.code.is_code(target)
        }
    }

    /// Searches the stack for a return address from which the rest of the stack can be unwound.
    fn scan(&self, state: &State) -> Option<FoundCaller> {
        let sp = state.register(SP)?.checked_next_multiple_of(4)?;
        let mut tries = MAX_TRIES;
        let mut best: Option<((Score, bool), State)> = None;
        let mut ways = 0;
        'words: for offset in (0..SCAN_BYTES).step_by(4) {
            let address = sp.checked_add(offset)?;
            let Some(word) = self.memory.word(address) else { break };
            if self.budget.step().is_none() {
                tries = 0;
                break;
            }
            let Some(call) = self.code.call_before(word) else { continue };
            if !self.may_reach(call, state.pc) {
                continue;
            }
            let above = address.checked_add(4)?.checked_next_multiple_of(ALIGNMENT)?;
            for beginning in 0..MAX_FRAME_STARTS {
                let Some(left) = tries.checked_sub(1) else { break 'words };
                tries = left;
                let sp = above.wrapping_add(beginning * ALIGNMENT);
                let candidate = State::searched(word, sp);
                let Some(score) = self.chain(&candidate) else { continue };
                ways += 1;
                // Among equals the lowest address is chosen.
                let rank = (score, call.target.is_some());
                if best.as_ref().is_none_or(|(known, _)| *known < rank) {
                    best = Some((rank, candidate));
                }
            }
        }
        let ambiguous = ways > 1 || tries == 0;
        best.map(|(_, state)| FoundCaller { state, trust: Trust::Scan, ambiguous })
    }

    /// Whether every return address from here on follows a call, and how the chain ends.
    fn chain(&self, start: &State) -> Option<Score> {
        let mut state = *start;
        for _ in 0..MAX_FRAMES {
            self.budget.step()?;
            match self.step(&state, false) {
                Step::Bottom => {
                    let rule = self.code.rule(state.pc.wrapping_sub(1));
                    let marked = rule.is_some_and(|rule| rule.return_address == SavedAt::Nowhere);
                    return Some(if marked { Score::Strong } else { Score::Weak });
                }
                Step::Caller(next, _) => {
                    self.code.call_before(next.pc)?;
                    state = next;
                }
                Step::Lost => return None,
            }
        }
        None
    }
}

impl State {
    fn of(context: &RiscVRegisters) -> Self {
        let mut values = context.0;
        values[0] = 0;
        Self { pc: context.0[0], registers: FrameRegisters::all(values) }
    }

    /// Only the beginning of the frame is known.
    fn searched(pc: u32, sp: u32) -> Self {
        let mut state = Self { pc, registers: FrameRegisters::default() };
        state.set(SP, Some(sp));
        state
    }

    fn register(&self, number: u8) -> Option<u32> {
        self.registers.get(number)
    }

    fn set(&mut self, number: u8, value: Option<u32>) {
        self.registers.set(number, value);
    }
}
