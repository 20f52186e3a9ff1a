//! Unwinding: from the registers of a task to the frames on its stack.

mod frame_registers;
mod riscv;
mod tail_calls;
mod xtensa;

use std::cell::Cell;

use crate::code::Code;
use crate::dump::{Dump, Memory, Registers, Task, XtensaRegisters, saved_by_yield};

pub(crate) use frame_registers::FrameRegisters;

/// Frames of one task.
pub(crate) const MAX_FRAMES: usize = 128;

/// How a frame was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// By the registers of the task itself.
    Context,
    /// By the call frame information of the frame below.
    Cfi,
    /// By the registers that the window of the frame below left on the stack.
    Window,
    /// By the first instructions of the function of the frame below.
    Prologue,
    /// By the return address register: the function of the frame below has no frame of its own.
    Leaf,
    /// It is the only function that can have jumped to the one of the frame below.
    TailCall,
    /// By searching the stack: plausible, not certain.
    Scan,
}

impl Trust {
    /// The value in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Cfi => "cfi",
            Self::Window => "window",
            Self::Prologue => "prologue",
            Self::Leaf => "leaf",
            Self::TailCall => "tail-call",
            Self::Scan => "scan",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The address where the task is or will return to.
    pub(crate) pc: u32,
    pub(crate) sp: u32,
    pub(crate) trust: Trust,
    /// Whether `pc` is a return address.
    pub(crate) returned_to: bool,
    /// A gap between this frame and the one below.
    pub(crate) before: Option<Before>,
    pub(crate) registers: FrameRegisters,
}

/// Why a frame does not follow the one below it as its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// One frame is not in the dump.
    LostFrame,
    /// An interrupt occurred here.
    Interrupt,
}

impl Before {
    /// The value in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LostFrame => "lost-frame",
            Self::Interrupt => "interrupt",
        }
    }
}

impl Frame {
    pub(crate) fn new(pc: u32, sp: u32, trust: Trust) -> Self {
        let returned_to = trust != Trust::Context;
        let registers = FrameRegisters::default();
        Self { pc, sp, trust, returned_to, before: None, registers }
    }

    /// The address for function and line: a return address points after the call.
    pub(crate) fn lookup(&self) -> u32 {
        if self.returned_to { self.pc.wrapping_sub(1) } else { self.pc }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backtrace {
    /// Innermost first.
    pub(crate) frames: Vec<Frame>,
    pub(crate) end: End,
}

/// Where a backtrace ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At the first frame of the task.
    Bottom,
    /// Before it: there is no plausible caller.
    Lost,
    /// In code without the register windows of Xtensa, which cannot be unwound further.
    NoWindows,
}

/// Steps that searches may take for all tasks of a dump together: hostile dumps have many tasks on
/// one stack that takes long to search.
pub(crate) struct SearchBudget(Cell<u32>);

impl Default for SearchBudget {
    fn default() -> Self {
        Self(Cell::new(20_000))
    }
}

impl SearchBudget {
    /// Takes one step; `None` if none is left.
    fn step(&self) -> Option<()> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(())
    }
}

/// Unwinds the stack of a task. If an interrupt handler crashed, the frames of the task that it
/// interrupted follow its own.
pub(crate) fn backtrace(
    dump: &Dump<'_>,
    task: &Task,
    code: &dyn Code,
    budget: &SearchBudget,
) -> Backtrace {
    if task.is_corrupted() {
        return Backtrace { frames: Vec::new(), end: End::Lost };
    }
    let mut trace = from_registers(&dump.memory, task, &task.registers, code, budget);
    let crashed = dump.crashed_task().is_some_and(|crashed| crashed.tcb == task.tcb);
    if crashed && dump.in_interrupt == Some(true) {
        append_interrupted(dump, task, &mut trace, code, budget);
    }
    trace
}

fn from_registers(
    memory: &Memory<'_>,
    task: &Task,
    registers: &Registers,
    code: &dyn Code,
    budget: &SearchBudget,
) -> Backtrace {
    match registers {
        Registers::RiscV(registers) => {
            let mut trace = riscv::Unwinder::new(memory, code, budget).unwind(registers);
            tail_calls::insert(&mut trace.frames, code);
            trace
        }
        Registers::Xtensa(registers) => {
            let unwinder = xtensa::Unwinder::new(memory, code);
            match yielded(memory, task, registers) {
                Some((address, saved)) => unwinder.unwind_yielded(&saved, address),
                None => unwinder.unwind(registers),
            }
        }
    }
}

/// The frame of a task that yielded, and the registers in it.
fn yielded(
    memory: &Memory<'_>,
    task: &Task,
    registers: &XtensaRegisters,
) -> Option<(u32, XtensaRegisters)> {
    let address = task.saved_context(memory)?;
    Some((address, saved_by_yield(memory, address, registers)?))
}

/// The control block of the interrupted task has the address of its registers.
fn append_interrupted(
    dump: &Dump<'_>,
    task: &Task,
    trace: &mut Backtrace,
    code: &dyn Code,
    budget: &SearchBudget,
) {
    let Some(registers) = task.interrupted_registers(dump) else { return };
    let mut interrupted = from_registers(&dump.memory, task, &registers, code, budget);
    let Some(first) = interrupted.frames.first_mut() else { return };
    first.before = Some(Before::Interrupt);
    let room = MAX_FRAMES.saturating_sub(trace.frames.len());
    let cut = interrupted.frames.len() > room;
    trace.frames.extend(interrupted.frames.into_iter().take(room));
    trace.end = if cut { End::Lost } else { interrupted.end };
}

/// The end of the stack that contains `sp`; frames never leave it.
fn stack_end(memory: &Memory<'_>, sp: u32) -> Option<u64> {
    // The stack pointer of an empty stack is the end of its segment.
    let segment = memory.segment_of(sp).or_else(|| memory.segment_of(sp.wrapping_sub(4)))?;
    Some(segment.end())
}
