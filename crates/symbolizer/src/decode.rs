use bytes::Bytes;
use coredock_domain::chip::Architecture;
use coredock_domain::coredumps::body::{self, Unwrapped};

use crate::dump::{Dump, DumpError, Memory};
use crate::elf::ElfError;
use crate::firmware::{Firmware, Session};
use crate::report::{Build, BuildMatch, Frame, Report, TaskReport};
use crate::tasks::TaskFacts;
use crate::unwind::{Backtrace, End, SearchBudget, backtrace};

/// Functions in one report, inlined ones included.
const MAX_FRAMES: usize = 16_384;

/// Why a dump has no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Dump(#[from] DumpError),
    #[error(transparent)]
    Elf(#[from] ElfError),
    #[error("expected an ELF for {dump}, the architecture of the dump, found one for {elf}")]
    OtherArchitecture { dump: Architecture, elf: Architecture },
    /// With another build, addresses would get wrong names that look right.
    #[error("expected the ELF of build {dump}, which made the dump, found build {elf}")]
    OtherBuild {
        /// The build id in the dump, which is the beginning of a SHA-256.
        dump: String,
        /// The SHA-256 of the ELF.
        elf: String,
    },
}

/// Decodes a stored body. Without a firmware the report has only what needs no ELF.
pub fn decode(stored: &Bytes, firmware: Option<&Firmware<'_>>) -> Result<Report, DecodeError> {
    decode_unwrapped(&body::unwrap(stored), firmware)
}

/// The name of the chip in a dump, if the dump has one.
pub fn chip_of(body: &Unwrapped) -> Result<Option<&'static str>, DumpError> {
    Ok(Dump::read(body)?.chip)
}

/// [`decode`] for a body that is already unwrapped.
pub fn decode_unwrapped(
    body: &Unwrapped,
    firmware: Option<&Firmware<'_>>,
) -> Result<Report, DecodeError> {
    let dump = Dump::read(body)?;
    let Some(firmware) = firmware else { return Ok(without_firmware(&dump)) };
    check(&dump, firmware)?;
    let mut session = firmware.session(&dump)?;
    let facts = session.facts();
    let budget = SearchBudget::default();
    let unwound = dump.tasks.iter().map(|task| backtrace(&dump, task, &session, &budget));
    let traces: Vec<Backtrace> = unwound.collect();
    let addresses: Vec<u32> =
        traces.iter().flat_map(|trace| &trace.frames).map(crate::unwind::Frame::lookup).collect();
    session.prepare(&addresses)?;
    let build = build_of(&dump, Some(firmware));
    let mut left = MAX_FRAMES;
    let tasks = dump.tasks.iter().zip(&traces).map(|(task, trace)| {
        let about = TaskFacts::read(&dump, task, facts.task_block);
        let mut frames = frames(trace, &session, &dump.memory, left);
        let cut = frames.len() > left;
        frames.truncate(left);
        left -= frames.len();
        TaskReport::new(task, about, if cut { End::Lost } else { trace.end }, frames)
    });
    let tasks = tasks.collect();
    Ok(Report::new(&dump, build, tasks, Some(&facts)))
}

fn without_firmware(dump: &Dump<'_>) -> Report {
    let tasks = dump.tasks.iter().map(|task| {
        let frame = Frame::bare(task.registers.pc());
        TaskReport::new(task, TaskFacts::read(dump, task, None), End::Lost, vec![frame])
    });
    let tasks = tasks.collect();
    Report::new(dump, build_of(dump, None), tasks, None)
}

fn check(dump: &Dump<'_>, firmware: &Firmware<'_>) -> Result<(), DecodeError> {
    if dump.architecture != firmware.architecture() {
        let (dump, elf) = (dump.architecture, firmware.architecture());
        return Err(DecodeError::OtherArchitecture { dump, elf });
    }
    let elf = firmware.elf_sha256().to_string();
    match &dump.build_id {
        Some(build) if !elf.starts_with(build.as_str()) => {
            Err(DecodeError::OtherBuild { dump: build.to_string(), elf })
        }
        _ => Ok(()),
    }
}

fn build_of(dump: &Dump<'_>, firmware: Option<&Firmware<'_>>) -> Build {
    let matched = match (firmware, &dump.build_id) {
        (None, _) => BuildMatch::None,
        (Some(_), Some(_)) => BuildMatch::Exact,
        (Some(_), None) => BuildMatch::Version,
    };
    Build {
        id: dump.build_id.as_ref().map(ToString::to_string),
        matched,
        elf_sha256: firmware.map(|firmware| firmware.elf_sha256().to_string()),
        model_code: None,
        firmware_version: None,
    }
}

/// The functions on a stack: at most `limit`, plus those of one frame.
fn frames(
    trace: &Backtrace,
    session: &Session<'_>,
    memory: &Memory<'_>,
    limit: usize,
) -> Vec<Frame> {
    let frames = trace.frames.iter().take(limit.saturating_add(1));
    frames
        .flat_map(|frame| {
            let (pc, trust) = (frame.pc, frame.trust);
            let located = session.locate(frame.lookup()).into_iter().enumerate();
            // A gap before a frame is a gap before its innermost function.
            let before = move |number: usize| frame.before.filter(|_| number == 0);
            located.map(move |(number, located)| {
                let arguments = session.arguments(located.scope, frame, memory);
                Frame { pc, trust, source: located.source, arguments, before: before(number) }
            })
        })
        .collect()
}
