//! The audit records contain every write as often as it happened (contract §3.8).

use std::collections::BTreeMap;

use coredock_testkit::invariants::{Findings, Rule};

use super::super::events::{Events, Outcome};
use super::super::load::POST_DUMP;
use super::rows::AuditCounts;

/// Writes that are recorded whenever they were answered with a 2xx. Others may change nothing: the
/// activation of the current version, and another parse of a pending dump.
const RECORDED_ONCE: [&str; 4] = [POST_DUMP, "delete dump", "publish version", "delete version"];
/// A write with one record for each dump.
const RECORDED_FOR_EACH: &str = "delete all dumps";

/// Compares the audit records of each request with its answer; `audited` has the records by the id
/// of the request.
pub(super) fn check(
    audited: &BTreeMap<String, AuditCounts>,
    events: &Events,
    findings: &mut Findings,
) {
    for write in &events.writes {
        let AuditCounts { total, distinct } = audited.get(&write.id).copied().unwrap_or_default();
        let is_one = RECORDED_ONCE.contains(&write.kind);
        let (rule, maximum) = match write.outcome {
            Outcome::Done if write.kind == RECORDED_FOR_EACH => (Rule::Acknowledged, distinct),
            Outcome::Lost if write.kind == RECORDED_FOR_EACH => (Rule::Refused, distinct),
            Outcome::Done => (Rule::Acknowledged, 1),
            Outcome::Refused => (Rule::Refused, 0),
            Outcome::Lost => (Rule::Refused, 1),
        };
        // A dump of the rescue spool has been replayed by now.
        let must_exist = write.outcome == Outcome::Done || write.is_rescued;
        let minimum = u64::from(is_one && must_exist);
        findings.check(rule, (minimum..=maximum).contains(&total), || {
            format!("expected {minimum} to {maximum} audit records of {write:?}, found {total}")
        });
    }
}
