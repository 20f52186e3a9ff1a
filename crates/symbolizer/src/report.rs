//! The report of a crash: what is shown to people and programs.

mod cause;
mod class;
mod exception;
mod guilty;
mod name;
mod signature;
mod structured;
mod text;

use crate::arguments::Argument;
use crate::dump::{Dump, Task};
use crate::facts::{Facts, Region};
use crate::sources::Source;
use crate::tasks::{StackUse, TaskFacts};
use crate::unwind::{Before, End, Trust};

pub use cause::Panic;
pub use class::FrameClass;
pub use signature::Signature;
pub use structured::StructuredReport;

/// Everything that was found out about a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The innermost reading of the body (contract §6.6).
    pub container: &'static str,
    /// Something was missing or damaged.
    pub salvaged: bool,
    /// Name of the chip, if the dump tells.
    pub chip: Option<&'static str>,
    /// Major version times 100, plus minor.
    pub chip_revision: Option<u32>,
    /// Which firmware.
    pub build: Build,
    /// Why it crashed.
    pub panic: Panic,
    /// Whether an interrupt handler ran; `None` when the dump does not tell.
    pub in_interrupt: Option<bool>,
    /// Of the crashed task, with the cause registers behind them.
    pub registers: Vec<(String, u32)>,
    /// The crashed one first.
    pub tasks: Vec<TaskReport>,
    /// What else a reader must know, in sentences.
    pub remarks: Vec<String>,
    regions: Vec<Region>,
    segments: Vec<(u32, u64)>,
}

/// The firmware of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Digits of the digest that the dump holds.
    pub id: Option<String>,
    /// How the ELF was found.
    pub matched: BuildMatch,
    /// Digest of the ELF.
    pub elf_sha256: Option<String>,
    /// Model of the device; known to the server only.
    pub model_code: Option<String>,
    /// Version of the firmware; known to the server only.
    pub firmware_version: Option<String>,
}

/// How ELF and dump belong together (contract §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildMatch {
    /// By the build id.
    Exact,
    /// The dump tells none.
    Version,
    /// There is no ELF.
    None,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// Address of its control block.
    pub tcb: u32,
    /// From the control block.
    pub name: Option<String>,
    /// Current priority, and the one before it inherited a higher one.
    pub priority: Option<u32>,
    /// See `priority`.
    pub base_priority: Option<u32>,
    /// The core it is bound to.
    pub core: Option<u32>,
    /// In bytes.
    pub stack: Option<StackUse>,
    /// Whether it is the one that crashed.
    pub crashed: bool,
    /// Whether it brought the crash about, as far as the cause tells.
    pub guilty: bool,
    /// The panic handler found its stack unusable.
    pub corrupted: bool,
    /// Where its frames end.
    pub end: End,
    /// Innermost first; an inlined call before the function it is inlined in.
    pub frames: Vec<Frame>,
}

/// One function on the stack of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where the task is or will be back.
    pub pc: u32,
    /// How the frame was found.
    pub trust: Trust,
    /// Which function.
    pub source: Source,
    /// In the order of its parameters.
    pub arguments: Vec<Argument>,
    /// What lies between it and the frame before it in the list.
    pub before: Option<Before>,
}

impl Frame {
    /// Nothing is known but the address.
    pub(crate) fn bare(pc: u32) -> Self {
        Self {
            pc,
            trust: Trust::Context,
            source: Source::default(),
            arguments: Vec::new(),
            before: None,
        }
    }

    /// The name of its function without template arguments and the endings of copies.
    fn plain_name(&self) -> Option<String> {
        self.source.function.as_deref().map(name::plain)
    }

    /// What part it has in a crash.
    pub fn class(&self) -> FrameClass {
        FrameClass::of(self)
    }
}

impl TaskReport {
    pub(crate) fn new(task: &Task, facts: TaskFacts, end: End, frames: Vec<Frame>) -> Self {
        // What the registers of a corrupted task say is not true.
        let frames = if task.is_corrupted() { Vec::new() } else { frames };
        Self {
            tcb: task.tcb,
            name: facts.name,
            priority: facts.priority,
            base_priority: facts.base_priority,
            core: facts.core,
            stack: facts.stack,
            crashed: false,
            guilty: false,
            corrupted: task.is_corrupted(),
            end,
            frames,
        }
    }
}

impl Report {
    pub(crate) fn new(
        dump: &Dump<'_>,
        build: Build,
        mut tasks: Vec<TaskReport>,
        facts: Option<&Facts>,
    ) -> Self {
        let crashed = dump.crashed_task().map(|task| task.tcb);
        let position = dump.tasks.iter().position(|task| Some(task.tcb) == crashed);
        if let Some(task) = position.and_then(|position| tasks.get_mut(position)) {
            task.crashed = true;
        }
        tasks.sort_by_key(|task| !task.crashed);
        let mut registers =
            dump.crashed_task().map(|task| task.registers.named()).unwrap_or_default();
        registers.extend(dump.machine_state.iter().flat_map(crate::dump::MachineState::named));
        let top = tasks.first().filter(|task| task.crashed);
        let mut panic = Panic::of(dump, top.map(|task| &task.frames[..]).unwrap_or_default());
        guilty::mark_guilty(&mut panic, &mut tasks);
        let segments = dump.memory.segments().iter();
        Self {
            container: dump.container.as_str(),
            salvaged: dump.salvaged,
            chip: dump.chip,
            chip_revision: dump.chip_revision,
            build,
            panic,
            in_interrupt: dump.in_interrupt,
            registers,
            remarks: remarks(dump, facts),
            regions: facts.map(|facts| facts.regions.clone()).unwrap_or_default(),
            segments: segments.map(|segment| (segment.start, segment.bytes.len() as u64)).collect(),
            tasks,
        }
    }

    /// The task that crashed, if the dump has it.
    pub fn crashed_task(&self) -> Option<&TaskReport> {
        self.tasks.first().filter(|task| task.crashed)
    }

    /// The first of the guilty tasks that is in the dump.
    pub fn guilty_task(&self) -> Option<&TaskReport> {
        let named = |name: &String| {
            self.tasks.iter().find(|task| task.guilty && task.name.as_ref() == Some(name))
        };
        self.panic.guilty.iter().find_map(named)
    }

    /// What dumps of one cause share (contract §6.10); `None` when no named frame is left.
    pub fn signature(&self) -> Option<Signature> {
        Signature::of(self)
    }

    /// For people.
    pub fn text(&self) -> String {
        text::write(self)
    }

    /// For programs: the object `report` of contract §6.9.
    pub fn structured(&self) -> StructuredReport<'_> {
        structured::structure(self)
    }
}

/// The frames of a task, or of the interrupt handler that crashed while it waited.
fn up_to_interrupt(frames: &[Frame]) -> &[Frame] {
    let end = interrupt(frames).unwrap_or(frames.len());
    frames.get(..end).unwrap_or(frames)
}

/// The frames of a task, without those of the interrupt handler that crashed while it waited.
fn after_interrupt(frames: &[Frame]) -> &[Frame] {
    frames.get(interrupt(frames).unwrap_or(0)..).unwrap_or(frames)
}

fn interrupt(frames: &[Frame]) -> Option<usize> {
    frames.iter().position(|frame| frame.before == Some(Before::Interrupt))
}

fn remarks(dump: &Dump<'_>, facts: Option<&Facts>) -> Vec<String> {
    let mut remarks = Vec::new();
    if dump.salvaged {
        remarks.push("The dump is damaged or cut: some of it may be missing or wrong.");
    }
    if dump.crashed_task().is_none() {
        remarks.push("The task that crashed could not be read, and is not in the dump.");
    }
    match facts {
        None => remarks.push("There is no ELF of this build: addresses have no names."),
        Some(facts) if facts.compressed => remarks.push(
            "The ELF has compressed sections, which are not read: names may lack their lines.",
        ),
        Some(facts) if !facts.has_lines => {
            remarks.push("The ELF was stripped: there are names without lines.");
        }
        Some(_) => {}
    }
    remarks.into_iter().map(str::to_owned).collect()
}
