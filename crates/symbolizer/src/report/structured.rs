//! The report for programs (contract §6.9). The same input gives the same bytes.

use serde_json::{Value, json};

use super::{BuildMatch, Frame, Report, TaskReport};
use crate::arguments::{Argument, ArgumentValue};
use crate::unwind::{Before, End};

const FORMAT: u32 = 1;
const ENGINE: &str = "native";

pub(super) fn write(report: &Report) -> Value {
    let build = &report.build;
    let matched = match build.matched {
        BuildMatch::Exact => "exact",
        BuildMatch::Version => "version",
        BuildMatch::None => "none",
    };
    let crashed = report.crashed_task();
    let registers: Vec<_> = report
        .registers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": address(*value) }))
        .collect();
    json!({
        "format": FORMAT,
        "engine": ENGINE,
        "container": report.container,
        "salvaged": report.salvaged,
        "chip": report.chip,
        "build": {
            "id": build.id,
            "match": matched,
            "elf_sha256": build.elf_sha256,
            "model_code": build.model_code,
            "firmware_version": build.firmware_version,
        },
        "panic": {
            "reason": report.panic.reason,
            "cause": report.panic.cause,
            "core": report.panic.core,
            "pc": report.panic.pc.map(address),
            "guilty_tasks": report.panic.guilty,
        },
        "crashed_task": crashed.map(|task| json!({ "name": task.name, "tcb": address(task.tcb) })),
        "registers": registers,
        "tasks": report.tasks.iter().map(task).collect::<Vec<_>>(),
        "signature": report.signature().map(|signature| {
            json!({ "version": 1, "hash": signature.hash, "title": signature.title })
        }),
        "remarks": report.remarks,
    })
}

fn task(task: &TaskReport) -> Value {
    json!({
        "name": task.name,
        "tcb": address(task.tcb),
        "crashed": task.crashed,
        "corrupted": task.corrupted,
        "truncated": task.end != End::Bottom,
        "frames": task.frames.iter().map(frame).collect::<Vec<_>>(),
    })
}

fn frame(frame: &Frame) -> Value {
    let source = &frame.source;
    json!({
        "pc": address(frame.pc),
        "function": source.function,
        "file": source.file,
        "line": source.line,
        "arguments": frame.arguments.iter().map(argument).collect::<Vec<_>>(),
        "inlined": source.inlined,
        "trust": frame.trust.as_str(),
        "class": frame.class().as_str(),
        "before": frame.before.map(Before::as_str),
    })
}

fn argument(argument: &Argument) -> Value {
    let value = match &argument.value {
        ArgumentValue::Known(value) => Some(value),
        ArgumentValue::OptimizedOut | ArgumentValue::Unreadable => None,
    };
    json!({ "name": argument.name, "value": value })
}

fn address(value: u32) -> String {
    format!("0x{value:08x}")
}
