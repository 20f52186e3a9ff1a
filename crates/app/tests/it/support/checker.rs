//! The invariants of the data that a server leaves, checked on rows and files alone.

use std::path::Path;

use coredock_testkit::invariants::{
    Findings, Objects, Rows, Rule, check_dump_retention, check_pointers, check_settled,
    check_version_retention,
};

use super::rows::Rows as TestRows;

/// Checks I1, I5, I8 and I9; `versions` and `dumps` are the limits of retention.
pub(crate) fn check(rows: &TestRows, artifacts: &Path, versions: usize, dumps: usize) {
    let rows = Rows::read(rows.database()).unwrap();
    let objects = Objects::read(artifacts).unwrap();
    let mut findings = Findings::default();
    findings.check(Rule::Database, rows.faults.is_empty(), || rows.faults.join(", "));
    objects.check_rows(&rows, Rule::Objects, &mut findings).unwrap();
    check_pointers(&rows, &mut findings);
    check_version_retention(&rows, versions, &mut findings);
    check_dump_retention(&rows, dumps, &mut findings);
    check_settled(&rows, &mut findings);
    findings.assert_none();
}
