//! The signature that groups dumps of one cause (contract §6.10).

use coredock_domain::digest::Sha256Digest;

use super::class::is_language_machinery;
use super::{Frame, Report, after_interrupt, up_to_interrupt};
use crate::unwind::Trust;

const MAX_FUNCTIONS: usize = 5;
const HASH_DIGITS: usize = 16;

/// The cause for which the guilty task counts, not the crashed one.
const TASK_WATCHDOG: &str = "task_wdt";

/// Functions that every crash ends in, besides those of C++ and Rust.
const IGNORED_FUNCTIONS: [&str; 11] = [
    "abort",
    "panic_abort",
    "esp_system_abort",
    "__assert_func",
    "_esp_error_check_failed",
    "_esp_error_check_failed_without_abort",
    "vPanicHandler",
    "panic_handler",
    "xt_unhandled_exception",
    "esp_panic_handler",
    "__stack_chk_fail",
];
const IGNORED_PREFIX: &str = "__ubsan_";

/// A signature of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// 16 hexadecimal digits.
    pub hash: String,
    /// For people: the cause and the innermost function.
    pub title: String,
}

impl Signature {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let names = frames_of(report)?.iter().filter_map(name);
        let names: Vec<String> = names.take(MAX_FUNCTIONS).collect();
        let innermost = names.first()?;
        let cause = report.panic.cause.as_str();
        let mut lines = vec!["v1", cause];
        lines.extend(names.iter().map(String::as_str));
        let digest = Sha256Digest::of(lines.join("\n").as_bytes()).to_string();
        let hash = digest.get(..HASH_DIGITS)?.to_owned();
        Some(Self { hash, title: format!("{cause} in {innermost}") })
    }
}

fn frames_of(report: &Report) -> Option<&[Frame]> {
    // It is accidental which task the watchdog interrupts.
    let guilty = report.guilty_task().filter(|_| report.panic.cause == TASK_WATCHDOG);
    match guilty {
        Some(guilty) => Some(after_interrupt(&guilty.frames)),
        // It is accidental which task a crashed handler interrupts.
        None => report.crashed_task().map(|task| up_to_interrupt(&task.frames)),
    }
}

/// The name as it enters the signature; `None` for ignored frames.
fn name(frame: &Frame) -> Option<String> {
    if frame.trust == Trust::Scan {
        return None;
    }
    let name = frame.plain_name()?;
    let ignored = IGNORED_FUNCTIONS.contains(&&*name) || name.starts_with(IGNORED_PREFIX);
    let ignored = ignored || is_language_machinery(&name);
    (!ignored && !name.is_empty()).then_some(name)
}
