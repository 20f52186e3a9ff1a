//! The report for programs (contract §6.9). Equal input gives equal bytes.

use std::fmt::{Display, Formatter};

use serde::ser::{Serialize, Serializer};
use serde_json::{to_string, to_string_pretty};

use super::{BuildMatch, Frame, Report, TaskReport};
use crate::arguments::{Argument, ArgumentValue};
use crate::unwind::{Before, End};

const FORMAT: u32 = 1;
const ENGINE: &str = "native";
const SIGNATURE_VERSION: u32 = 1;

/// The object `report` of contract §6.9. Displayed as JSON, with `{:#}` over several lines.
#[derive(Debug, serde::Serialize)]
pub struct StructuredReport<'a> {
    format: u32,
    engine: &'static str,
    container: &'static str,
    salvaged: bool,
    chip: Option<&'static str>,
    build: StructuredBuild<'a>,
    panic: StructuredPanic<'a>,
    crashed_task: Option<CrashedTask<'a>>,
    registers: Vec<Register<'a>>,
    tasks: Vec<StructuredTask<'a>>,
    signature: Option<StructuredSignature>,
    remarks: &'a [String],
}

#[derive(Debug, serde::Serialize)]
struct StructuredBuild<'a> {
    id: Option<&'a str>,
    #[serde(rename = "match")]
    matched: &'static str,
    elf_sha256: Option<&'a str>,
    model_code: Option<&'a str>,
    firmware_version: Option<&'a str>,
}

#[derive(Debug, serde::Serialize)]
struct StructuredPanic<'a> {
    reason: Option<&'a str>,
    cause: &'a str,
    core: Option<u32>,
    pc: Option<Address>,
    guilty_tasks: &'a [String],
}

#[derive(Debug, serde::Serialize)]
struct CrashedTask<'a> {
    name: Option<&'a str>,
    tcb: Address,
}

#[derive(Debug, serde::Serialize)]
struct Register<'a> {
    name: &'a str,
    value: Address,
}

#[derive(Debug, serde::Serialize)]
struct StructuredTask<'a> {
    name: Option<&'a str>,
    tcb: Address,
    crashed: bool,
    corrupted: bool,
    truncated: bool,
    frames: Vec<StructuredFrame<'a>>,
}

#[derive(Debug, serde::Serialize)]
struct StructuredFrame<'a> {
    pc: Address,
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    arguments: Vec<StructuredArgument<'a>>,
    inlined: bool,
    trust: &'static str,
    class: &'static str,
    before: Option<&'static str>,
}

#[derive(Debug, serde::Serialize)]
struct StructuredArgument<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

#[derive(Debug, serde::Serialize)]
struct StructuredSignature {
    version: u32,
    hash: String,
    title: String,
}

/// Written as `0x` and eight digits.
#[derive(Debug)]
struct Address(u32);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{:08x}", self.0))
    }
}

impl Display for StructuredReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let written = if f.alternate() { to_string_pretty(self) } else { to_string(self) };
        match written {
            Ok(text) => f.write_str(&text),
            Err(_) => Err(std::fmt::Error),
        }
    }
}

pub(super) fn structure(report: &Report) -> StructuredReport<'_> {
    let (build, panic) = (&report.build, &report.panic);
    let crashed = report.crashed_task();
    StructuredReport {
        format: FORMAT,
        engine: ENGINE,
        container: report.container,
        salvaged: report.salvaged,
        chip: report.chip,
        build: StructuredBuild {
            id: build.id.as_deref(),
            matched: matched(build.matched),
            elf_sha256: build.elf_sha256.as_deref(),
            model_code: build.model_code.as_deref(),
            firmware_version: build.firmware_version.as_deref(),
        },
        panic: StructuredPanic {
            reason: panic.reason.as_deref(),
            cause: &panic.cause,
            core: panic.core,
            pc: panic.pc.map(Address),
            guilty_tasks: &panic.guilty,
        },
        crashed_task: crashed
            .map(|task| CrashedTask { name: task.name.as_deref(), tcb: Address(task.tcb) }),
        registers: report
            .registers
            .iter()
            .map(|(name, value)| Register { name, value: Address(*value) })
            .collect(),
        tasks: report.tasks.iter().map(task).collect(),
        signature: report.signature().map(|signature| StructuredSignature {
            version: SIGNATURE_VERSION,
            hash: signature.hash,
            title: signature.title,
        }),
        remarks: &report.remarks,
    }
}

const fn matched(matched: BuildMatch) -> &'static str {
    match matched {
        BuildMatch::Exact => "exact",
        BuildMatch::Version => "version",
        BuildMatch::None => "none",
    }
}

fn task(task: &TaskReport) -> StructuredTask<'_> {
    StructuredTask {
        name: task.name.as_deref(),
        tcb: Address(task.tcb),
        crashed: task.crashed,
        corrupted: task.corrupted,
        truncated: task.end != End::Bottom,
        frames: task.frames.iter().map(frame).collect(),
    }
}

fn frame(frame: &Frame) -> StructuredFrame<'_> {
    let source = &frame.source;
    StructuredFrame {
        pc: Address(frame.pc),
        function: source.function.as_deref(),
        file: source.file.as_deref(),
        line: source.line,
        arguments: frame.arguments.iter().map(argument).collect(),
        inlined: source.inlined,
        trust: frame.trust.as_str(),
        class: frame.class().as_str(),
        before: frame.before.map(Before::as_str),
    }
}

fn argument(argument: &Argument) -> StructuredArgument<'_> {
    let value = match &argument.value {
        ArgumentValue::Known(value) => Some(value.as_str()),
        ArgumentValue::OptimizedOut | ArgumentValue::Unreadable => None,
    };
    StructuredArgument { name: &argument.name, value }
}
