//! From the registers of a task to the frames on its stack.

mod riscv;
mod tail_calls;

use std::cell::Cell;

use crate::code::Code;
use crate::dump::{Dump, Memory, Registers, Task};

/// Frames of one task.
pub(crate) const MOST_FRAMES: usize = 128;

/// How a frame was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The registers of the task themselves.
    Context,
    /// Call frame information of the frame below.
    Cfi,
    /// The frame below is a function without a frame of its own, whose return address is in a
    /// register.
    Leaf,
    /// The only function that can have jumped to the one of the frame below.
    TailCall,
    /// The stack was searched: plausible, not certain.
    Scan,
}

impl Trust {
    /// The text in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Cfi => "cfi",
            Self::Leaf => "leaf",
            Self::TailCall => "tail-call",
            Self::Scan => "scan",
        }
    }
}

/// One frame of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where the task is or will be back.
    pub(crate) pc: u32,
    pub(crate) sp: u32,
    pub(crate) trust: Trust,
}

impl Frame {
    /// The address that tells function and line: return addresses point behind the call.
    pub(crate) fn lookup(&self) -> u32 {
        match self.trust {
            Trust::Context => self.pc,
            Trust::Cfi | Trust::Leaf | Trust::TailCall | Trust::Scan => self.pc.wrapping_sub(1),
        }
    }
}

/// The frames of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backtrace {
    /// Innermost first.
    pub(crate) frames: Vec<Frame>,
    /// The end of the stack was not reached.
    pub(crate) truncated: bool,
}

/// Steps that searches may take for all tasks of a dump together: tasks may share a stack that was
/// made to be searched.
pub(crate) struct SearchBudget(Cell<u32>);

impl Default for SearchBudget {
    fn default() -> Self {
        Self(Cell::new(20_000))
    }
}

impl SearchBudget {
    /// Takes one step, if there is one left.
    fn step(&self) -> Option<()> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(())
    }
}

/// Unwinds the stack of a task.
pub(crate) fn backtrace(
    dump: &Dump<'_>,
    task: &Task,
    (code, budget): (&dyn Code, &SearchBudget),
) -> Backtrace {
    if task.is_corrupted() {
        return Backtrace { frames: Vec::new(), truncated: true };
    }
    match &task.registers {
        Registers::Riscv(registers) => {
            let mut trace = riscv::Unwinder::new(&dump.memory, code, budget).unwind(registers);
            tail_calls::insert(&mut trace.frames, code);
            trace
        }
        Registers::Xtensa(registers) => {
            let frame = Frame { pc: registers.pc, sp: registers.window[1], trust: Trust::Context };
            Backtrace { frames: vec![frame], truncated: true }
        }
    }
}

/// The stack a pointer points into: a frame never leaves it.
fn stack_end(memory: &Memory<'_>, sp: u32) -> Option<u64> {
    // A stack that is empty ends where its segment does.
    let segment = memory.segment_of(sp).or_else(|| memory.segment_of(sp.wrapping_sub(4)))?;
    Some(segment.end())
}
