//! The work that a restarted server must finish by itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coredock_testkit::client::Client;
use coredock_testkit::database::Database;
use coredock_testkit::invariants::{Findings, Objects, Rows, Rule, check_dump_retention};
use serde_json::Value;

use super::MAX_COREDUMPS;
use super::embedded::rows::has_work;
use super::fleet::Fleet;
use super::history::History;
use super::process::names_in;

/// Maximum time from readiness to the last delete, settlement and parse.
const MAX_RECOVERY: Duration = Duration::from_secs(30);

/// Waits until a server has no work left; work that is left after [`MAX_RECOVERY`] is a violation.
pub(super) fn wait(database: &Database, findings: &mut Findings) -> Result<Rows> {
    let rows = rows_without_work(database)?;
    findings.check(Rule::Outbox, rows.outbox.is_empty(), || {
        format!("the outbox still contains {:?} after {MAX_RECOVERY:?}", rows.outbox)
    });
    let staged: Vec<_> = rows.versions.iter().filter(|version| version.staging.is_some()).collect();
    findings.check(Rule::Outbox, staged.is_empty(), || {
        format!("not settled after {MAX_RECOVERY:?}: {staged:?}")
    });
    let pending: Vec<_> = rows.dumps.iter().filter(|dump| dump.parse_status == "PENDING").collect();
    findings.check(Rule::Parses, pending.is_empty(), || {
        format!("no result after {MAX_RECOVERY:?}: {pending:?}")
    });
    Ok(rows)
}

/// The server sweeps meanwhile, so the rows must come from one read without work.
fn rows_without_work(database: &Database) -> Result<Rows> {
    let began = Instant::now();
    loop {
        let is_late = began.elapsed() >= MAX_RECOVERY;
        if is_late || !has_work(database)? {
            let rows = Rows::read(database)?;
            if is_late || rows.outbox.is_empty() {
                return Ok(rows);
            }
        }
        sleep(Duration::from_millis(10));
    }
}

/// The data and the answers of a server without work.
pub(super) struct Idle<'a> {
    pub(super) rows: &'a Rows,
    pub(super) objects: &'a Objects,
    /// The result of [`lists`].
    pub(super) lists: &'a [BTreeSet<i64>],
    /// Names and paths of directories that must be empty.
    pub(super) empty: &'a [(&'static str, PathBuf)],
}

impl Idle<'_> {
    pub(super) fn check(&self, history: &History, findings: &mut Findings) -> Result<()> {
        self.objects.check_rows(self.rows, Rule::DeletesInUse, findings)?;
        history.check_whole(self.objects, findings);
        history.check_deleted(self.objects, findings);
        self.check_lists(&history.fleet, findings);
        check_results(self.rows, findings);
        check_dump_retention(self.rows, MAX_COREDUMPS, findings);
        for (place, directory) in self.empty {
            let names = names_in(directory)?;
            findings.check(Rule::WholeFiles, names.is_empty(), || {
                format!("the {place} directory of an idle server contains {names:?}")
            });
        }
        Ok(())
    }

    /// Checks that the API lists the rows.
    fn check_lists(&self, fleet: &Fleet, findings: &mut Findings) {
        let dumps = fleet.devices.iter().map(|device| {
            let of_device = self.rows.dumps.iter().filter(|dump| dump.device_id == device.id);
            of_device.map(|dump| dump.id).collect::<BTreeSet<_>>()
        });
        let versions = fleet.models.iter().map(|model| {
            let of_model = self.rows.versions.iter().filter(|version| version.model_id == *model);
            of_model.map(|version| version.id).collect::<BTreeSet<_>>()
        });
        for (listed, rows) in self.lists.iter().zip(dumps.chain(versions)) {
            findings.check(Rule::Answers, *listed == rows, || {
                format!("expected the API to list {rows:?}, found {listed:?}")
            });
        }
    }
}

/// I10: every result took at least one attempt, and no result reports a missing object.
fn check_results(rows: &Rows, findings: &mut Findings) {
    for dump in rows.dumps.iter().filter(|dump| dump.parse_status != "PENDING") {
        findings.check(Rule::Parses, dump.attempts >= 1, || format!("no attempt: {dump:?}"));
        let allowed = [None, Some("ELF_NOT_FOUND"), Some("ENGINE_REFUSED")];
        findings.check(Rule::Parses, allowed.contains(&dump.error_code.as_deref()), || {
            format!("unexpected error code: {dump:?}")
        });
        findings.check(Rule::Parses, !dump.is_leased, || format!("still leased: {dump:?}"));
    }
}

/// Ids that the API lists: of dumps by device, then of versions by model, in the order of the
/// fleet.
pub(super) fn lists(address: SocketAddr, fleet: &Fleet) -> Result<Vec<BTreeSet<i64>>> {
    let mut client = Client::connect(address)?;
    let mut lists = Vec::new();
    for device in &fleet.devices {
        let path = format!("/api/devices/{}/coredumps", device.id);
        lists.push(ids(&client.get(&path)?.json(200)?["coredumps"])?);
    }
    for model in &fleet.models {
        let path = format!("/api/device-models/{model}/firmware-versions");
        lists.push(ids(&client.get(&path)?.json(200)?["firmware_versions"])?);
    }
    Ok(lists)
}

fn ids(list: &Value) -> Result<BTreeSet<i64>> {
    let list = list.as_array().context("the answer has no list")?;
    list.iter().map(|item| item["id"].as_i64().context("an item has no id")).collect()
}
