//! Every write is in the audit trail as often as it took place (contract §3.8).

use std::collections::BTreeMap;

use coredock_testkit::invariants::{Findings, Rule};

use super::super::events::{Events, Outcome};
use super::super::load::POST_DUMP;
use super::rows::Records;

/// Writes that are recorded whenever they were answered with a 2xx. To activate what is current
/// changes nothing, nor does another parse of what is pending.
const RECORDED_ONCE: [&str; 4] = [POST_DUMP, "delete dump", "publish version", "delete version"];
/// One record for each dump.
const RECORDED_FOR_EACH: &str = "delete all dumps";

/// Compares what was recorded under the id of each request with its answer; `audited` holds
/// the records of each request.
pub(super) fn check(audited: &BTreeMap<String, Records>, events: &Events, findings: &mut Findings) {
    for write in &events.writes {
        let Records { records, different } = audited.get(&write.id).copied().unwrap_or_default();
        let is_one = RECORDED_ONCE.contains(&write.kind);
        let (rule, most) = match write.outcome {
            Outcome::Done if write.kind == RECORDED_FOR_EACH => (Rule::Acknowledged, different),
            Outcome::Lost if write.kind == RECORDED_FOR_EACH => (Rule::Refused, different),
            Outcome::Done => (Rule::Acknowledged, 1),
            Outcome::Refused => (Rule::Refused, 0),
            Outcome::Lost => (Rule::Refused, 1),
        };
        // A dump of the rescue spool has been replayed by now.
        let is_kept = write.outcome == Outcome::Done || write.is_rescued;
        let least = u64::from(is_one && is_kept);
        findings.check(rule, (least..=most).contains(&records), || {
            format!("{records} audit records of {write:?}, not {least} to {most}")
        });
    }
}
