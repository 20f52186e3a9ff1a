//! The tasks that caused a crash, which need not include the crashed one.

use super::{Panic, TaskReport};

const MAX_TASKS: usize = 32;

/// ESP-IDF `task_wdt.c`.
const LOG_TAG: &str = "task_wdt: ";
const NOT_RESET: &str = "did not reset the watchdog";
const RUNNING: &str = "Tasks currently running";
/// End of a coloured log line; ESC is replaced before.
const COLOUR_END: &str = "\u{fffd}[0m";

/// Text around the name of the task whose stack overflowed (ESP-IDF `port.c`, `panic_arch.c` of
/// both architectures).
const STACK_TEXTS: [(&str, &str); 3] = [
    ("stack overflow in task ", " has been detected"),
    ("Stack canary watchpoint triggered (", ")"),
    ("Detected in task \"", "\""),
];

/// Writes the guilty tasks into the panic and marks those that are in the dump. The crashed task,
/// if there is one, is the first of `tasks`.
pub(super) fn mark_guilty(panic: &mut Panic, tasks: &mut [TaskReport]) {
    let text = panic.reason.as_deref().unwrap_or_default();
    let names = match panic.cause.as_str() {
        "task_wdt" => of_task_watchdog(text, panic.core, tasks),
        "stack_overflow" => {
            named_by_stack_text(text).map_or_else(|| crashed(tasks, None), |name| vec![name])
        }
        "int_wdt" => crashed(tasks, panic.core),
        _ => Vec::new(),
    };
    for name in &names {
        if let Some(task) = tasks.iter_mut().find(|task| task.name.as_ref() == Some(name)) {
            task.guilty = true;
        }
    }
    panic.guilty = names;
}

/// The crashed task, unless it is pinned to another core.
fn crashed(tasks: &[TaskReport], core: Option<u32>) -> Vec<String> {
    let crashed = tasks.first().filter(|task| task.crashed);
    let there = crashed.filter(|task| core.is_none() || task.core.is_none() || task.core == core);
    there.and_then(|task| task.name.clone()).into_iter().collect()
}

fn named_by_stack_text(text: &str) -> Option<String> {
    STACK_TEXTS.iter().find_map(|(before, after)| {
        let (_, rest) = text.split_once(before)?;
        let (name, _) = rest.split_once(after)?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// The tasks in the text. If an idle task could not run, the task which kept its core busy comes
/// first.
fn of_task_watchdog(text: &str, core: Option<u32>, tasks: &[TaskReport]) -> Vec<String> {
    let text = WatchdogText::of(text);
    let named = text.named.iter().filter(|(name, cpu)| {
        cpu.is_some() || tasks.iter().any(|task| task.name.as_deref() == Some(name))
    });
    let named: Vec<_> = named.collect();
    let idle = named.iter().filter(|(name, _)| is_idle(name));
    let starving = idle.filter_map(|(name, cpu)| {
        let cpu = cpu.or_else(|| name.strip_prefix("IDLE")?.parse().ok())?;
        text.running_on(cpu).or_else(|| crashed_on(cpu, core, tasks))
    });
    let mut guilty: Vec<String> = Vec::new();
    for name in starving.chain(named.iter().map(|(name, _)| *name)) {
        if guilty.len() < MAX_TASKS && !guilty.iter().any(|known| known == name) {
            guilty.push(name.to_owned());
        }
    }
    guilty
}

/// The crashed task, if it ran on that core and is not an idle task.
fn crashed_on(cpu: u32, core: Option<u32>, tasks: &[TaskReport]) -> Option<&str> {
    let crashed = tasks.first().filter(|task| task.crashed)?;
    let idle = tasks.iter().filter(|task| task.name.as_deref().is_some_and(is_idle));
    let only_core = idle.count() == 1;
    let there = only_core || crashed.core.or(core) == Some(cpu);
    crashed.name.as_deref().filter(|name| there && !is_idle(name))
}

/// "IDLE", "IDLE0", "IDLE1".
fn is_idle(name: &str) -> bool {
    name.strip_prefix("IDLE").is_some_and(|rest| rest.chars().all(|char| char.is_ascii_digit()))
}

/// The parsed text of the task watchdog.
#[derive(Debug, Default, PartialEq, Eq)]
struct WatchdogText<'a> {
    /// Tasks and other users that did not reset it, with the first core that a task may run on.
    named: Vec<(&'a str, Option<u32>)>,
    /// By core.
    running: Vec<(u32, &'a str)>,
}

impl<'a> WatchdogText<'a> {
    fn of(text: &'a str) -> Self {
        let mut found = Self::default();
        let mut lines = text.lines().map(message);
        if !lines.any(|line| line.contains(NOT_RESET)) {
            return found;
        }
        let mut listed = true;
        for line in lines {
            if line.contains(RUNNING) {
                listed = false;
            } else if let Some(entry) = line.strip_prefix("- ").filter(|_| listed) {
                found.named.push(named(entry));
            } else if let Some((cpu, name)) = running(line).filter(|_| !listed) {
                found.running.push((cpu, name));
            }
            if found.named.len() >= MAX_TASKS || found.running.len() >= MAX_TASKS {
                break;
            }
        }
        found
    }

    fn running_on(&self, cpu: u32) -> Option<&'a str> {
        let running = self.running.iter().find(|(core, _)| *core == cpu);
        running.map(|(_, name)| *name).filter(|name| !is_idle(name))
    }
}

/// The message of a log line.
fn message(line: &str) -> &str {
    let message = line.split_once(LOG_TAG).map_or(line, |(_, message)| message);
    message.trim_end().trim_end_matches(COLOUR_END).trim()
}

/// "main (CPU 0/1)"; a user that is not a task has no core.
fn named(entry: &str) -> (&str, Option<u32>) {
    let with_core = entry.strip_suffix(')').and_then(|entry| entry.rsplit_once(" (CPU "));
    let with_core = with_core.and_then(|(name, cores)| {
        let first = cores.chars().next()?.to_digit(10)?;
        Some((name, Some(first)))
    });
    with_core.unwrap_or((entry, None))
}

/// "CPU 0: main"
fn running(line: &str) -> Option<(u32, &str)> {
    let (cpu, name) = line.strip_prefix("CPU ")?.split_once(": ")?;
    Some((cpu.parse().ok()?, name))
}
