//! The report for people. The order is that of the vendor's reports: the crash, registers, the
//! crashed task, all tasks, all stacks, the memory.

use std::fmt::{self, Write};

use super::{BuildMatch, Frame, Report, TaskReport};
use crate::arguments::{Argument, ArgumentValue};
use crate::unwind::{Before, End, Trust};
use crate::words::printable;

const WIDTH: usize = 72;
/// In bytes: 1 MiB (contract §6.8), with room for the last line.
const MAX_TEXT_BYTES: usize = (1 << 20) - 256;

/// A report of more than 1 MiB is cut and ends with a line that says so.
pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail.
    let _ = all(report, &mut text);
    if text.len() > MAX_TEXT_BYTES {
        let end =
            (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("\n[the report was cut here]\n");
    }
    text
}

fn all(report: &Report, out: &mut String) -> fmt::Result {
    summary(report, out)?;
    registers(report, out)?;
    if let Some(task) = report.crashed_task() {
        heading(out, "CRASHED TASK STACK")?;
        stack(task, out)?;
    }
    tasks(report, out)?;
    for (number, task) in report.tasks.iter().enumerate() {
        let name = shown(task.name.as_deref());
        heading(out, &format!("TASK {} (TCB: {:#010x}, name: '{name}')", number + 1, task.tcb))?;
        stack(task, out)?;
    }
    memory(report, out)
}

fn heading(out: &mut String, title: &str) -> fmt::Result {
    writeln!(out, "\n{:=^WIDTH$}", format!(" {title} "))
}

fn shown(text: Option<&str>) -> String {
    printable(text.unwrap_or("?").as_bytes()).replace('\n', " ")
}

fn summary(report: &Report, out: &mut String) -> fmt::Result {
    heading(out, "CRASH")?;
    let reason = report.panic.reason.as_deref().unwrap_or("unknown");
    writeln!(out, "Reason:   {}", printable(reason.as_bytes()))?;
    writeln!(out, "Cause:    {}", report.panic.cause)?;
    match report.crashed_task() {
        Some(task) => {
            let name = shown(task.name.as_deref());
            writeln!(out, "Task:     '{name}', handle {:#010x}", task.tcb)?;
        }
        None => writeln!(out, "Task:     not in the dump")?,
    }
    if !report.panic.guilty.is_empty() {
        let names = report.panic.guilty.iter().map(|name| format!("'{}'", shown(Some(name))));
        writeln!(out, "Guilty:   {}", names.collect::<Vec<_>>().join(", "))?;
    }
    if let Some(in_interrupt) = report.in_interrupt {
        writeln!(out, "Context:  {}", if in_interrupt { "interrupt" } else { "task" })?;
    }
    if let Some(core) = report.panic.core {
        writeln!(out, "Core:     {core}")?;
    }
    match (report.chip, report.chip_revision) {
        (Some(chip), Some(revision)) => {
            writeln!(out, "Chip:     {chip} v{}.{}", revision / 100, revision % 100)?;
        }
        (Some(chip), None) => writeln!(out, "Chip:     {chip}")?,
        (None, _) => {}
    }
    let id = report.build.id.as_deref().or(report.build.elf_sha256.as_deref()).unwrap_or("unknown");
    let matched = match report.build.matched {
        BuildMatch::Exact => "the ELF is of this build",
        BuildMatch::Version => "the dump has no build id, so the ELF may be of another build",
        BuildMatch::None => "there is no ELF",
    };
    writeln!(out, "Build:    {id} ({matched})")?;
    if let Some(signature) = report.signature() {
        writeln!(out, "Group:    {} ({})", shown(Some(&signature.title)), signature.hash)?;
    }
    for remark in &report.remarks {
        writeln!(out, "Note:     {remark}")?;
    }
    Ok(())
}

fn registers(report: &Report, out: &mut String) -> fmt::Result {
    if report.registers.is_empty() {
        return Ok(());
    }
    heading(out, "REGISTERS")?;
    for (name, value) in &report.registers {
        writeln!(out, "{name:<14} {value:#010x} {:>12}", value.cast_signed())?;
    }
    Ok(())
}

fn stack(task: &TaskReport, out: &mut String) -> fmt::Result {
    if task.corrupted {
        return writeln!(out, "The stack of this task is corrupted.");
    }
    for (number, frame) in task.frames.iter().enumerate() {
        match frame.before {
            Some(Before::LostFrame) => writeln!(out, "(one frame is not in the dump)")?,
            Some(Before::Interrupt) => writeln!(out, "(an interrupt; the task was here:)")?,
            None => {}
        }
        write_frame(number, frame, out)?;
    }
    match task.end {
        End::Bottom => Ok(()),
        End::Lost => writeln!(out, "(the stack goes on: its end was not reached)"),
        End::NoWindows => {
            writeln!(out, "(the stack goes on: code without register windows leaves no way on)")
        }
    }
}

fn write_frame(number: usize, frame: &Frame, out: &mut String) -> fmt::Result {
    let source = &frame.source;
    let address = frame.pc;
    let function = match (&source.function, &source.near) {
        (Some(function), _) => shown(Some(function)),
        (None, Some(near)) => format!("ROM near {}", shown(Some(near))),
        (None, None) => "??".to_owned(),
    };
    write!(out, "#{number:<3} {address:#010x} in {function}")?;
    if source.function.is_some() && !frame.arguments.is_empty() {
        write!(out, " ({})", frame.arguments.iter().map(argument).collect::<Vec<_>>().join(", "))?;
    }
    if let Some(path) = source.path.as_deref().or(source.file.as_deref()) {
        write!(out, " at {}", shown(Some(path)))?;
        if let Some(line) = source.line {
            write!(out, ":{line}")?;
        }
    }
    if source.inlined {
        write!(out, " (inlined)")?;
    }
    match frame.trust {
        Trust::Context | Trust::Cfi | Trust::Window => {}
        Trust::Prologue => write!(out, " (by the beginning of the function before)")?,
        Trust::Leaf => write!(out, " (by the return address register)")?,
        Trust::TailCall => write!(out, " (by its tail call)")?,
        Trust::Scan => write!(out, " (found by searching the stack)")?,
    }
    writeln!(out)
}

fn argument(argument: &Argument) -> String {
    let value = match &argument.value {
        ArgumentValue::Known(value) => value,
        ArgumentValue::OptimizedOut => "<optimized out>",
        ArgumentValue::Unreadable => "<not in the dump>",
    };
    format!("{}={}", shown(Some(&argument.name)), shown(Some(value)))
}

fn tasks(report: &Report, out: &mut String) -> fmt::Result {
    heading(out, "TASKS")?;
    writeln!(
        out,
        "    {:<10} {:<16} {:>9} {:>4} {:>17}  FRAME",
        "TCB", "NAME", "PRIO C/B", "CORE", "STACK USED/FREE"
    )?;
    for task in &report.tasks {
        let guilty = if task.guilty { '!' } else { ' ' };
        let crashed = if task.crashed { '*' } else { ' ' };
        let number =
            |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
        let priority = format!("{}/{}", number(task.priority), number(task.base_priority));
        let stack = task.stack.map_or("-/-".to_owned(), |stack| {
            format!("{}/{}", stack.live.unwrap_or(stack.saved), stack.free)
        });
        let top = task.frames.iter().find_map(|frame| frame.source.function.as_deref());
        let top = if task.corrupted { "(corrupted)".to_owned() } else { shown(top) };
        writeln!(
            out,
            "{guilty} {crashed} {:#010x} {:<16} {priority:>9} {:>4} {stack:>17}  {top}",
            task.tcb,
            shown(task.name.as_deref()),
            number(task.core),
        )?;
    }
    Ok(())
}

fn memory(report: &Report, out: &mut String) -> fmt::Result {
    heading(out, "MEMORY REGIONS")?;
    writeln!(out, "{:<24} {:<10} {:>10} ATTRIBUTES", "NAME", "ADDRESS", "SIZE")?;
    for region in &report.regions {
        let write = if region.writable { "W" } else { " " };
        let execute = if region.executable { "X" } else { " " };
        let name = shown(Some(&region.name));
        writeln!(out, "{name:<24} {:#010x} {:>10} R{write}{execute}", region.address, region.size)?;
    }
    for (start, length) in &report.segments {
        writeln!(out, "{:<24} {start:#010x} {length:>10} RW", "in the dump")?;
    }
    Ok(())
}
