//! The invariants of the rows and objects of a server (contract §9), checked without the server, by
//! the tests and by the drill.

#![expect(clippy::print_stdout, reason = "the drill shows violations as it finds them")]

mod findings;
mod objects;
mod rows;

use std::cmp::Reverse;
use std::collections::BTreeMap;

pub use findings::{Findings, Rule};
pub use objects::{Objects, check_swept, surplus};
pub use rows::{DeviceRow, DumpRow, Fact, ModelRow, Rows, SetFacts, VersionRow};

/// I8: pointers name a version of their model.
pub fn check_pointers(rows: &Rows, findings: &mut Findings) {
    for model in &rows.models {
        let current = model.current.as_deref();
        let exists = current.is_none_or(|current| rows.version(model.id, current).is_some());
        findings.check(Rule::Pointers, exists, || {
            format!("model {} points at version {current:?}, which does not exist", model.code)
        });
    }
}

/// I9 of versions: beyond the limit a model has only its current version and those which pending
/// dumps name.
pub fn check_version_retention(rows: &Rows, limit: usize, findings: &mut Findings) {
    for model in &rows.models {
        let mut versions: Vec<_> =
            rows.versions.iter().filter(|version| version.model_id == model.id).collect();
        versions.sort_by_key(|version| Reverse(version.place()));
        for surplus in versions.into_iter().skip(limit) {
            let is_current = model.current.as_ref() == Some(&surplus.version);
            let allowed = is_current || rows.is_named_by_a_pending_dump(surplus);
            findings.check(Rule::Retention, allowed, || {
                let (version, code) = (&surplus.version, &model.code);
                format!("version {version} of model {code} is beyond the limit and not needed")
            });
        }
    }
}

/// I9 of dumps: beyond the limit a device has only dumps whose parse runs.
pub fn check_dump_retention(rows: &Rows, limit: usize, findings: &mut Findings) {
    let mut by_device: BTreeMap<i64, Vec<&DumpRow>> = BTreeMap::new();
    for dump in &rows.dumps {
        by_device.entry(dump.device_id).or_default().push(dump);
    }
    for (device, mut dumps) in by_device {
        dumps.sort_by_key(|dump| Reverse(dump.place()));
        let surplus: Vec<_> = dumps.iter().skip(limit).filter(|dump| !dump.is_leased).collect();
        findings.check(Rule::Retention, surplus.is_empty(), || {
            format!("device {device} has {} dumps, {} too many", dumps.len(), surplus.len())
        });
    }
}

/// Checks that no replacement waits to be settled.
pub fn check_settled(rows: &Rows, findings: &mut Findings) {
    for version in &rows.versions {
        findings.check(Rule::Outbox, version.staging.is_none(), || {
            format!("version {} refers to staged keys", version.version)
        });
    }
}
