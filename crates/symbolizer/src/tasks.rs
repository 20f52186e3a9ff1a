//! The contents of the control block of a task (`tasks.c` of `FreeRTOS`).

use crate::dump::{Dump, Task};
use crate::dwarf::{TaskBlock, common_layout};
use crate::words::{printable, until_nul};

/// `configMAX_TASK_NAME_LEN` of ESP-IDF.
const NAME_BYTES: usize = 16;
/// A larger number means that the bytes are not a control block.
const MAX_PRIORITY: u32 = 255;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TaskFacts {
    pub(crate) name: Option<String>,
    pub(crate) priority: Option<u32>,
    /// Before it inherited a higher one.
    pub(crate) base_priority: Option<u32>,
    pub(crate) core: Option<u32>,
    pub(crate) stack: Option<StackUse>,
}

/// How much of its stack a task uses, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackUse {
    /// From the stack pointer which the kernel saved last to the end.
    pub saved: u32,
    /// From the stack pointer in the registers to the end.
    pub live: Option<u32>,
    /// From the stack pointer which the kernel saved last to the lowest address.
    pub free: u32,
}

impl TaskFacts {
    /// Without a layout, reads only the members that are at the same offset in all builds.
    pub(crate) fn read(dump: &Dump<'_>, task: &Task, block: Option<TaskBlock>) -> Self {
        let block = block.unwrap_or(common_layout());
        let word = |offset: u32| dump.memory.word(task.tcb.checked_add(offset)?);
        let name = task.tcb.checked_add(block.name).and_then(|at| dump.memory.from(at));
        let name = name.map(|bytes| until_nul(bytes.get(..NAME_BYTES).unwrap_or(bytes)));
        let priority = |offset| word(offset).filter(|priority| *priority <= MAX_PRIORITY);
        let stack = || {
            let (top, lowest) = (word(block.top_of_stack)?, word(block.stack)?);
            let end = word(block.end_of_stack?)?;
            let live = task.registers.sp();
            let live = (lowest..=end).contains(&live).then(|| end - live);
            Some(StackUse { saved: end.abs_diff(top), live, free: top.abs_diff(lowest) })
        };
        Self {
            name: name.filter(|name| !name.is_empty()).map(printable),
            priority: priority(block.priority),
            base_priority: block.base_priority.and_then(priority),
            core: block.core.and_then(word).filter(|core| *core < 2),
            stack: stack(),
        }
    }
}
