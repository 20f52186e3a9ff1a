//! Every write is in the audit trail as often as it took place (contract §3.8).

use std::collections::BTreeMap;

use super::super::events::{Events, Outcome};
use super::super::findings::{Findings, Rule};
use super::super::load::POST_DUMP;

/// Writes that are recorded whenever they were answered with a 2xx. To activate what is current
/// changes nothing, nor does another parse of what is pending.
const RECORDED_ONCE: [&str; 4] = [POST_DUMP, "delete dump", "publish version", "delete version"];
/// One record for each dump.
const RECORDED_FOR_EACH: &str = "delete all dumps";

/// Compares what was recorded under the id of each request with its answer; `audited` holds how
/// many records there are, and how many different ones.
pub(super) fn check(
    audited: &BTreeMap<String, (u64, u64)>,
    events: &Events,
    findings: &mut Findings,
) {
    for write in &events.writes {
        let (records, different) = audited.get(&write.id).copied().unwrap_or_default();
        let is_one = RECORDED_ONCE.contains(&write.kind);
        let (rule, most) = match write.outcome {
            Outcome::Done if write.kind == RECORDED_FOR_EACH => (Rule::Acknowledged, different),
            Outcome::Lost if write.kind == RECORDED_FOR_EACH => (Rule::Refused, different),
            Outcome::Done => (Rule::Acknowledged, 1),
            Outcome::Refused => (Rule::Refused, 0),
            Outcome::Lost => (Rule::Refused, 1),
        };
        // A dump that was put aside has been taken in by now.
        let is_kept = write.outcome == Outcome::Done || write.is_rescued;
        let least = u64::from(is_one && is_kept);
        findings.check(rule, (least..=most).contains(&records), || {
            format!("{records} audit records of {write:?}, not {least} to {most}")
        });
    }
}
