//! What dumps of one cause share (contract §6.10).

use coredock_domain::digest::Sha256Digest;

use super::{Frame, Report};
use crate::unwind::{Before, Trust};

/// Functions that take part.
const MOST_FUNCTIONS: usize = 5;
/// Digits of the digest.
const HASH_DIGITS: usize = 16;

/// Functions that take no part: every crash ends in one of them.
const LEFT_OUT: [&str; 11] = [
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
const LEFT_OUT_BEGINNING: &str = "__ubsan_";

/// Endings that compilers give to copies of a function.
const CLONES: [&str; 4] = [".constprop.", ".isra.", ".part.", ".cold"];

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
        let frames = report.crashed_task()?.frames.iter();
        // Which task a handler interrupted says nothing of its crash.
        let of_crash = frames.take_while(|frame| frame.before != Some(Before::Interrupt));
        let names: Vec<String> = of_crash.filter_map(name).take(MOST_FUNCTIONS).collect();
        let innermost = names.first()?;
        let cause = report.panic.cause.as_str();
        let mut lines = vec!["v1", cause];
        lines.extend(names.iter().map(String::as_str));
        let digest = Sha256Digest::of(lines.join("\n").as_bytes()).to_string();
        let hash = digest.get(..HASH_DIGITS)?.to_owned();
        Some(Self { hash, title: format!("{cause} in {innermost}") })
    }
}

/// The name as it takes part.
fn name(frame: &Frame) -> Option<String> {
    if frame.trust == Trust::Scan {
        return None;
    }
    let name = plain(frame.source.function.as_deref()?);
    let left_out = LEFT_OUT.contains(&&*name) || name.starts_with(LEFT_OUT_BEGINNING);
    (!left_out && !name.is_empty()).then_some(name)
}

/// Without template arguments and the endings of copies.
fn plain(name: &str) -> String {
    let end = CLONES.iter().filter_map(|clone| name.find(clone)).min();
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
    // Comparisons, and implementations of traits of Rust, have no arguments to leave out.
    let operator = name.starts_with("operator") || name.contains("::operator");
    if operator || name.starts_with('<') {
        return name.to_owned();
    }
    let mut depth = 0_usize;
    let mut kept = String::new();
    for char in name.chars() {
        match char {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => kept.push(char),
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn copies_and_templates_have_one_name() {
        assert_eq!(plain("connect.constprop.0"), "connect");
        assert_eq!(plain("parse.isra.0.part.1"), "parse");
        assert_eq!(plain("run.cold"), "run");
        assert_eq!(plain("std::vector<int, std::allocator<int> >::at"), "std::vector::at");
        assert_eq!(plain("Clock::operator<(Clock const&)"), "Clock::operator<(Clock const&)");
        assert_eq!(plain("a>b"), "a>b");
    }
}
