//! Which dumps must exist, according to the requests of clients and their answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use coredock_domain::digest::Sha256Digest;
use coredock_testkit::invariants::{DumpRow, Fact, Findings, Rows, Rule};

use super::MAX_COREDUMPS;
use super::events::{Absence, Events, Outcome, Post, Removal, Span};
use super::fleet::Fleet;

/// The dumps of the fleet.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    /// Visible at the last comparison.
    visible: BTreeMap<i64, Visible>,
    /// Dumps that were visible or answered and are deleted for good, with their devices.
    pub(super) deleted: BTreeMap<i64, usize>,
    bodies: HashMap<(usize, Sha256Digest), Body>,
    /// Dumps answered with a 503 in an earlier life: each may appear in any later life.
    rescued: HashSet<(usize, Sha256Digest)>,
}

#[derive(Debug)]
struct Visible {
    device: usize,
    /// Position in the order of the dumps of the device.
    place: (String, i64),
}

/// The posts of one body by one device, and their answers.
#[derive(Debug, Default)]
struct Body {
    size: u64,
    sent: u64,
    /// Chips and versions.
    sent_with: HashSet<(String, String)>,
    /// How often each id was the answer.
    answered: BTreeMap<i64, u64>,
}

/// A life of the server and the rows at its end.
struct Life<'a> {
    events: &'a Events,
    visible: BTreeMap<i64, (usize, &'a DumpRow)>,
    /// The posts that were answered with an id, by id.
    answered: BTreeMap<i64, Answered>,
}

struct Answered {
    device: usize,
    /// The dump was visible at this time.
    by: Duration,
    /// The dump was visible at some moment of this span.
    last: Span,
    /// The dump did not exist before this time.
    after: Duration,
}

impl Dumps {
    /// Whether this body was ever sent by the device.
    pub(super) fn was_sent(&self, device: usize, fact: Fact) -> bool {
        self.bodies.get(&(device, fact.sha256)).is_some_and(|body| body.size == fact.size)
    }

    /// The number of dumps visible at the last comparison.
    pub(super) fn count(&self) -> usize {
        self.visible.len()
    }

    /// Compares the rows with the answers of a life, and remembers both.
    pub(super) fn compare(
        &mut self,
        events: &Events,
        rows: &Rows,
        fleet: &Fleet,
        findings: &mut Findings,
    ) -> Result<()> {
        for post in &events.posts {
            self.record(post);
        }
        let mut visible = BTreeMap::new();
        for row in &rows.dumps {
            let device = fleet.device(row.device_id).context("a dump of an unknown device")?;
            visible.insert(row.id, (device, row));
        }
        let life = Life { events, visible, answered: answered(events) };
        self.check_visible(&life, findings);
        self.check_removals(&life, findings);
        self.check_absences(&life, findings);
        self.check_missing(&life, findings);
        let ids = self.visible.keys().chain(life.answered.keys()).copied().collect::<BTreeSet<_>>();
        for id in ids {
            if !life.visible.contains_key(&id)
                && let Some(device) = self.device_of(&life, id)
            {
                self.deleted.insert(id, device);
            }
        }
        let rescued = events.posts.iter().filter(|post| post.is_rescued);
        self.rescued.extend(rescued.map(|post| (post.device, post.sha256)));
        let visible = life.visible.iter();
        self.visible = visible
            .map(|(id, (device, row))| (*id, Visible { device: *device, place: row.place() }))
            .collect();
        Ok(())
    }

    fn record(&mut self, post: &Post) {
        let body = self.bodies.entry((post.device, post.sha256)).or_default();
        body.size = post.size;
        body.sent += 1;
        body.sent_with.insert((post.chip.clone(), post.version.clone()));
        if let Some(id) = post.id {
            *body.answered.entry(id).or_default() += 1;
        }
    }

    /// I2, I3: every visible dump was sent, and is visible once.
    fn check_visible(&self, life: &Life<'_>, findings: &mut Findings) {
        let mut bodies = BTreeSet::new();
        for (id, (device, row)) in &life.visible {
            let fact = row.fact;
            let sent_with = (row.chip.clone(), row.firmware_version.clone());
            let body = self.bodies.get(&(*device, fact.sha256));
            let body =
                body.filter(|body| body.size == fact.size && body.sent_with.contains(&sent_with));
            findings.check(Rule::Refused, body.is_some(), || {
                format!("dump {id} of device {device} was never sent: {row:?}")
            });
            let Some(body) = body else { continue };
            let times = body.answered.get(id).copied().unwrap_or(0);
            let others: u64 = body.answered.values().sum::<u64>() - times;
            let range = times.max(1)..=body.sent - others;
            let count = u64::try_from(row.occurrences).unwrap_or(0);
            findings.check(Rule::Acknowledged, range.contains(&count), || {
                format!("dump {id}: expected {range:?} occurrences, found {count}")
            });
            findings.check(Rule::Acknowledged, bodies.insert((*device, fact.sha256)), || {
                format!("dump {id} has the body of another dump of device {device}")
            });
            findings.check(Rule::Acknowledged, !self.deleted.contains_key(id), || {
                format!("dump {id} was deleted and exists again")
            });
            findings.check(Rule::Refused, self.may_be_new(life, *id, *device, fact), || {
                format!("dump {id} of device {device} exists, but no client can have sent it")
            });
        }
    }

    /// Whether a dump was known before, was answered, can come from a post without an answer, or
    /// was rescued before.
    fn may_be_new(&self, life: &Life<'_>, id: i64, device: usize, fact: Fact) -> bool {
        let lost =
            |post: &Post| post.id.is_none() && (post.device, post.sha256) == (device, fact.sha256);
        self.visible.contains_key(&id)
            || life.answered.contains_key(&id)
            || life.events.posts.iter().any(lost)
            || self.rescued.contains(&(device, fact.sha256))
    }

    /// I2: a dump that exists now, and was answered before a client requested it, existed then.
    fn check_absences(&self, life: &Life<'_>, findings: &mut Findings) {
        for Absence { id, span } in &life.events.absences {
            let existed_before = self.visible.contains_key(id)
                || life.answered.get(id).is_some_and(|known| known.by < span.sent);
            let is_plausible = !(existed_before && life.visible.contains_key(id));
            findings.check(Rule::Answers, is_plausible, || {
                format!("dump {id} exists, but was answered with a 404: {span:?}")
            });
        }
    }

    /// I2: a dump that was deleted with an answer does not exist any more.
    fn check_removals(&self, life: &Life<'_>, findings: &mut Findings) {
        let done = |removal: &&Removal| removal.outcome == Outcome::Done;
        for removal in life.events.removals.iter().filter(done) {
            for (id, (device, _)) in &life.visible {
                let is_target =
                    *device == removal.device && removal.id.is_none_or(|removed| removed == *id);
                let existed_before = removal.id.is_some()
                    || self.visible.contains_key(id)
                    || life.answered.get(id).is_some_and(|known| known.by < removal.span.sent);
                findings.check(Rule::Acknowledged, !(is_target && existed_before), || {
                    format!("dump {id} of device {device} was deleted with a 204 and still exists")
                });
            }
        }
    }

    /// I2: an answered dump exists, unless a client or retention deleted it.
    fn check_missing(&self, life: &Life<'_>, findings: &mut Findings) {
        let known: BTreeSet<i64> =
            self.visible.keys().chain(life.answered.keys()).copied().collect();
        for id in &known {
            let Some(device) = self.device_of(life, *id) else { continue };
            let is_plausible = life.visible.contains_key(id)
                || life.deleted(*id, device)
                || self.newer(life, *id, device, &known) >= MAX_COREDUMPS;
            findings.check(Rule::Acknowledged, is_plausible, || {
                let newer = self.newer(life, *id, device, &known);
                format!(
                    "dump {id} of device {device} was answered and is missing: no delete was sent, \
                     and only {newer} newer dumps can have replaced it"
                )
            });
        }
    }

    fn device_of(&self, life: &Life<'_>, id: i64) -> Option<usize> {
        let before = self.visible.get(&id).map(|before| before.device);
        before.or_else(|| life.answered.get(&id).map(|known| known.device))
    }

    /// The number of dumps of the device that may be newer: those that exist, and those that
    /// clients deleted since.
    fn newer(&self, life: &Life<'_>, id: i64, device: usize, known: &BTreeSet<i64>) -> usize {
        let of_device = |other: &i64| *other != id && !self.certainly_older(life, *other, id);
        let visible = life.visible.iter().filter(|(_, (of, _))| *of == device);
        let visible = visible.filter(|(other, _)| of_device(other)).count();
        let deleted = known.iter().filter(|other| !life.visible.contains_key(other));
        let deleted = deleted
            .filter(|other| self.device_of(life, **other) == Some(device))
            .filter(|other| life.deleted(**other, device) && of_device(other));
        visible + deleted.count() + life.perhaps_deleted(device)
    }

    fn certainly_older(&self, life: &Life<'_>, other: i64, than: i64) -> bool {
        match (self.visible.get(&other), self.visible.get(&than)) {
            (Some(other), Some(than)) => other.place < than.place,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => match (life.answered.get(&other), life.answered.get(&than)) {
                (Some(other), Some(than)) => other.by < than.after,
                _ => false,
            },
        }
    }
}

impl Life<'_> {
    /// Whether a client may have deleted the dump after it was last known to exist.
    fn deleted(&self, id: i64, device: usize) -> bool {
        let last = self.answered.get(&id).map(|known| known.last);
        let may_delete = |removal: &&Removal| {
            removal.outcome != Outcome::Refused
                && removal.device == device
                && removal.id.is_none_or(|removed| removed == id)
                && last.is_none_or(|last| !removal.span.before(&last))
        };
        self.events.removals.iter().any(|removal| may_delete(&removal))
    }

    /// The number of dumps without a known id that a delete of all dumps may have deleted.
    fn perhaps_deleted(&self, device: usize) -> usize {
        let all = |removal: &Removal| {
            removal.device == device && removal.id.is_none() && removal.outcome != Outcome::Refused
        };
        if !self.events.removals.iter().any(all) {
            return 0;
        }
        let lost = |post: &&Post| post.device == device && post.id.is_none();
        self.events.posts.iter().filter(lost).count()
    }
}

fn answered(events: &Events) -> BTreeMap<i64, Answered> {
    let mut first_sent: HashMap<(usize, Sha256Digest), Duration> = HashMap::new();
    for post in &events.posts {
        let first = first_sent.entry((post.device, post.sha256)).or_insert(post.span.sent);
        *first = post.span.sent.min(*first);
    }
    let mut ids: BTreeMap<i64, Answered> = BTreeMap::new();
    for post in &events.posts {
        let (Some(id), Some(by)) = (post.id, post.span.answered) else { continue };
        let after = first_sent.get(&(post.device, post.sha256)).copied().unwrap_or(by);
        let known = Answered { device: post.device, by, last: post.span, after };
        let entry = ids.entry(id).or_insert(known);
        entry.by = entry.by.min(by);
        if post.span.sent > entry.last.sent {
            entry.last = post.span;
        }
    }
    ids
}

#[cfg(test)]
mod tests;
