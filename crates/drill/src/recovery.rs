//! What a restarted server must bring to an end by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::findings::{Findings, Rule};
use super::fleet::Fleet;
use super::material::MODELS;
use super::objects::Objects;
use super::process::{Site, names_in};
use super::rows::{Database, Rows};
use super::versions::Versions;
use super::{MAX_COREDUMPS, objects::Known};
use coredock_testkit::client::Client;

/// From readiness to the last delete, settlement and parse.
const LONGEST_RECOVERY: Duration = Duration::from_secs(30);

/// What the drill knows.
pub(super) struct Expected<'a> {
    pub(super) known: Known<'a>,
    pub(super) objects: &'a Objects,
    /// What [`lists`] returned.
    pub(super) lists: &'a [BTreeSet<i64>],
    pub(super) versions: &'a Versions,
}

/// Waits until nothing is left to be done; `dead` are the leases of the process before, which end
/// now unless they are of parses and `jobs` is false.
pub(super) fn wait(
    site: &Site,
    (dead, jobs): (&[String], bool),
    findings: &mut Findings,
) -> Result<Rows> {
    let mut database = Database::open(&site.database())?;
    database.end_leases(dead, jobs)?;
    let rows = settled(&mut database)?;
    findings.check(Rule::Outbox, rows.outbox.is_empty(), || {
        format!("the outbox still holds {:?} after {LONGEST_RECOVERY:?}", rows.outbox)
    });
    let staged: Vec<_> = rows.versions.iter().filter(|one| one.staging.is_some()).collect();
    findings.check(Rule::Outbox, staged.is_empty(), || {
        format!("not settled after {LONGEST_RECOVERY:?}: {staged:?}")
    });
    let pending: Vec<_> = rows.dumps.iter().filter(|one| one.parse_status == "PENDING").collect();
    findings.check(Rule::Parses, pending.is_empty(), || {
        format!("no result after {LONGEST_RECOVERY:?}: {pending:?}")
    });
    Ok(rows)
}

/// Rows with nothing left to do, or those there are after the longest time. The server sweeps
/// meanwhile: what counts is what one look shows.
fn settled(database: &mut Database) -> Result<Rows> {
    let began = Instant::now();
    loop {
        let is_late = began.elapsed() >= LONGEST_RECOVERY;
        if is_late || database.undone()? == 0 {
            let rows = database.read()?;
            if is_late || rows.outbox.is_empty() {
                return Ok(rows);
            }
        }
        sleep(Duration::from_millis(10));
    }
}

/// Checks of a server with nothing left to do; `empty` are directories that hold nothing then.
pub(super) fn check(
    empty: &[(&str, PathBuf)],
    rows: &Rows,
    (expected, findings): (&Expected<'_>, &mut Findings),
) -> Result<()> {
    let known = &expected.known;
    let objects = expected.objects;
    objects.check_rows(rows, known.fleet, (Rule::DeletesInUse, findings))?;
    objects.check_whole(known, findings);
    check_gone(expected, findings);
    check_lists(rows, expected, findings);
    check_results(rows, findings);
    check_retention(rows, known.fleet, findings);
    for (place, directory) in empty {
        let names = names_in(directory)?;
        findings.check(Rule::WholeFiles, names.is_empty(), || {
            format!("the {place} directory of an idle server holds {names:?}")
        });
    }
    Ok(())
}

/// I4: objects of deleted rows are gone.
fn check_gone(expected: &Expected<'_>, findings: &mut Findings) {
    let (fleet, objects) = (expected.known.fleet, expected.objects);
    for (id, device) in &expected.known.dumps.gone {
        let key = format!("coredumps/{}/{id}.dmp", fleet.devices[*device].key);
        findings.check(Rule::Outbox, !objects.holds(&key), || {
            format!("{key} is still there, its row was deleted and the outbox is empty")
        });
    }
    for (model, version) in expected.versions.without_objects() {
        let key = format!("firmware/{}/{version}/firmware.bin", MODELS[*model]);
        findings.check(Rule::Outbox, !objects.holds(&key), || {
            format!("{key} is still there, its row was deleted and the outbox is empty")
        });
    }
}

/// I10: every result took an attempt, and none says that an object was missing.
fn check_results(rows: &Rows, findings: &mut Findings) {
    for dump in rows.dumps.iter().filter(|dump| dump.parse_status != "PENDING") {
        findings.check(Rule::Parses, dump.attempts >= 1, || format!("no attempt: {dump:?}"));
        let allowed = [None, Some("ELF_NOT_FOUND"), Some("ENGINE_REFUSED")];
        findings.check(Rule::Parses, allowed.contains(&dump.error_code.as_deref()), || {
            format!("a result nothing here can lead to: {dump:?}")
        });
        findings.check(Rule::Parses, dump.leased == 0, || format!("still leased: {dump:?}"));
    }
}

/// I9 of dumps, while no parse runs.
fn check_retention(rows: &Rows, fleet: &Fleet, findings: &mut Findings) {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for dump in &rows.dumps {
        *counts.entry(dump.device_id).or_default() += 1;
    }
    for device in &fleet.devices {
        let count = counts.get(&device.id).copied().unwrap_or(0);
        findings.check(Rule::Retention, count <= MAX_COREDUMPS, || {
            format!("device {} has {count} dumps and no parse runs", device.id)
        });
    }
}

/// Ids that the API lists: of dumps per device, then of versions per model, as the fleet has them.
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

/// The API shows what the rows say.
fn check_lists(rows: &Rows, expected: &Expected<'_>, findings: &mut Findings) {
    let fleet = expected.known.fleet;
    let dumps = fleet.devices.iter().map(|device| {
        let of_device = rows.dumps.iter().filter(|dump| dump.device_id == device.id);
        of_device.map(|dump| dump.id).collect::<BTreeSet<_>>()
    });
    let versions = fleet.models.iter().map(|model| {
        let of_model = rows.versions.iter().filter(|version| version.model_id == *model);
        of_model.map(|version| version.id).collect::<BTreeSet<_>>()
    });
    for (listed, rows) in expected.lists.iter().zip(dumps.chain(versions)) {
        findings.check(Rule::Answers, *listed == rows, || {
            format!("the API lists {listed:?}, the rows are {rows:?}")
        });
    }
}

fn ids(list: &serde_json::Value) -> Result<BTreeSet<i64>> {
    let list = list.as_array().context("no list")?;
    list.iter().map(|one| one["id"].as_i64().context("an item without id")).collect()
}
