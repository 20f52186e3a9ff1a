//! Crash reports for people and programs.

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The innermost container of the body, see contract §6.6.
    pub container: &'static str,
    /// Parts were missing or damaged.
    pub salvaged: bool,
    /// `None` if the dump does not name it.
    pub chip: Option<&'static str>,
    /// Major version times 100, plus minor version.
    pub chip_revision: Option<u32>,
    pub build: Build,
    pub panic: Panic,
    /// Whether an interrupt handler was running; `None` if the dump does not contain this.
    pub in_interrupt: Option<bool>,
    /// Registers of the crashed task, then the cause registers.
    pub registers: Vec<(String, u32)>,
    /// The crashed task first.
    pub tasks: Vec<TaskReport>,
    /// Sentences about what limits this report.
    pub remarks: Vec<String>,
    regions: Vec<Region>,
    segments: Vec<(u32, u64)>,
}

/// The firmware of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The build id in the dump: the first digits of the SHA-256 of the ELF.
    pub id: Option<String>,
    pub matched: BuildMatch,
    pub elf_sha256: Option<String>,
    /// Only the server knows it.
    pub model_code: Option<String>,
    /// Only the server knows it.
    pub firmware_version: Option<String>,
}

/// How the ELF was matched with the dump (contract §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildMatch {
    /// By the build id.
    Exact,
    /// By the version only: the dump has no build id.
    Version,
    /// There is no ELF.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// Address of its task control block.
    pub tcb: u32,
    pub name: Option<String>,
    pub priority: Option<u32>,
    /// Before the task inherited a higher one.
    pub base_priority: Option<u32>,
    /// The core it is pinned to.
    pub core: Option<u32>,
    pub stack: Option<StackUse>,
    pub crashed: bool,
    /// Whether it caused the crash, as far as the cause allows to say.
    pub guilty: bool,
    /// The panic handler marked its stack as unusable.
    pub corrupted: bool,
    pub end: End,
    /// Innermost first; an inlined call precedes the function it is inlined into.
    pub frames: Vec<Frame>,
}

/// A function on the stack of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The address where the task is or will return to.
    pub pc: u32,
    pub trust: Trust,
    pub source: Source,
    /// In the order of its parameters.
    pub arguments: Vec<Argument>,
    /// A gap between this frame and the one before it in the list.
    pub before: Option<Before>,
}

impl Frame {
    /// A frame of which only the address is known.
    pub(crate) fn bare(pc: u32) -> Self {
        Self {
            pc,
            trust: Trust::Context,
            source: Source::default(),
            arguments: Vec::new(),
            before: None,
        }
    }

    /// The name of its function without template arguments and suffixes of clones.
    fn plain_name(&self) -> Option<String> {
        self.source.function.as_deref().map(name::plain)
    }

    pub fn class(&self) -> FrameClass {
        FrameClass::of(self)
    }
}

impl TaskReport {
    pub(crate) fn new(task: &Task, facts: TaskFacts, end: End, frames: Vec<Frame>) -> Self {
        // The registers of a corrupted task are not valid.
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

    /// `None` if the dump does not contain it.
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

    /// The signature (contract §6.10); `None` if no named frame is left.
    pub fn signature(&self) -> Option<Signature> {
        Signature::of(self)
    }

    /// The report for people.
    pub fn text(&self) -> String {
        text::write(self)
    }

    /// The report for programs: the object `report` of contract §6.9.
    pub fn structured(&self) -> StructuredReport<'_> {
        structured::structure(self)
    }
}

/// The frames above an interrupt: those of the handler if it crashed, otherwise of the task.
fn up_to_interrupt(frames: &[Frame]) -> &[Frame] {
    let end = interrupt(frames).unwrap_or(frames.len());
    frames.get(..end).unwrap_or(frames)
}

/// The frames below an interrupt: those of the interrupted task, otherwise all.
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
