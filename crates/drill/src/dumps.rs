//! Which dumps must be there, judged from what clients sent and what they were answered.

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
    /// Once visible or answered, and deleted for good; with their devices.
    pub(super) deleted: BTreeMap<i64, usize>,
    bodies: HashMap<(usize, Sha256Digest), Body>,
    /// Answered with a 503 in an earlier life: each may appear in any later one.
    rescued: HashSet<(usize, Sha256Digest)>,
}

#[derive(Debug)]
struct Visible {
    device: usize,
    /// Its place in the order of the dumps of its device.
    place: (String, i64),
}

/// What is known of a body on one device.
#[derive(Debug, Default)]
struct Body {
    size: u64,
    sent: u64,
    /// Chips and versions.
    sent_with: HashSet<(String, String)>,
    /// How often which id was the answer.
    answered: BTreeMap<i64, u64>,
}

/// One life of the server and what it left.
struct Life<'a> {
    events: &'a Events,
    visible: BTreeMap<i64, (usize, &'a DumpRow)>,
    /// First and last post that was answered with this id.
    answered: BTreeMap<i64, Answered>,
}

struct Answered {
    device: usize,
    /// It was visible by then.
    by: Duration,
    /// It was visible at some moment of this.
    last: Span,
    /// It was not there before this.
    after: Duration,
}

impl Dumps {
    /// Whether this body was ever sent by the device.
    pub(super) fn was_sent(&self, device: usize, fact: Fact) -> bool {
        self.bodies.get(&(device, fact.sha256)).is_some_and(|body| body.size == fact.size)
    }

    /// How many dumps were visible at the last comparison.
    pub(super) fn count(&self) -> usize {
        self.visible.len()
    }

    /// Compares the rows with what clients were answered during a life, and remembers both.
    pub(super) fn judge(
        &mut self,
        events: &Events,
        rows: &Rows,
        fleet: &Fleet,
        findings: &mut Findings,
    ) -> Result<()> {
        for post in &events.posts {
            self.note(post);
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

    fn note(&mut self, post: &Post) {
        let body = self.bodies.entry((post.device, post.sha256)).or_default();
        body.size = post.size;
        body.sent += 1;
        body.sent_with.insert((post.chip.clone(), post.version.clone()));
        if let Some(id) = post.id {
            *body.answered.entry(id).or_default() += 1;
        }
    }

    /// I2, I3: nothing is visible that was not sent, and nothing twice.
    fn check_visible(&self, life: &Life<'_>, findings: &mut Findings) {
        let mut bodies = BTreeSet::new();
        for (id, (device, row)) in &life.visible {
            let fact = row.fact;
            let sent_with = (row.chip.clone(), row.firmware_version.clone());
            let body = self.bodies.get(&(*device, fact.sha256));
            let body =
                body.filter(|body| body.size == fact.size && body.sent_with.contains(&sent_with));
            findings.check(Rule::Refused, body.is_some(), || {
                format!("dump {id} of device {device} is nothing that was sent: {row:?}")
            });
            let Some(body) = body else { continue };
            let times = body.answered.get(id).copied().unwrap_or(0);
            let others: u64 = body.answered.values().sum::<u64>() - times;
            let range = times.max(1)..=body.sent - others;
            let count = u64::try_from(row.occurrences).unwrap_or(0);
            findings.check(Rule::Acknowledged, range.contains(&count), || {
                format!("dump {id} has {count} occurrences, not {range:?}")
            });
            findings.check(Rule::Acknowledged, bodies.insert((*device, fact.sha256)), || {
                format!("dump {id} has the body of another dump of device {device}")
            });
            findings.check(Rule::Acknowledged, !self.deleted.contains_key(id), || {
                format!("dump {id} was deleted and is back")
            });
            findings.check(Rule::Refused, self.may_be_new(life, *id, *device, fact), || {
                format!("dump {id} of device {device} is there, but no client can have sent it")
            });
        }
    }

    /// Known before, answered, of a post without answer, or rescued before.
    fn may_be_new(&self, life: &Life<'_>, id: i64, device: usize, fact: Fact) -> bool {
        let lost =
            |post: &Post| post.id.is_none() && (post.device, post.sha256) == (device, fact.sha256);
        self.visible.contains_key(&id)
            || life.answered.contains_key(&id)
            || life.events.posts.iter().any(lost)
            || self.rescued.contains(&(device, fact.sha256))
    }

    /// I2: what exists now, and was answered before a client asked for it, existed then.
    fn check_absences(&self, life: &Life<'_>, findings: &mut Findings) {
        for Absence { id, span } in &life.events.absences {
            let there_before = self.visible.contains_key(id)
                || life.answered.get(id).is_some_and(|known| known.by < span.sent);
            let fine = !(there_before && life.visible.contains_key(id));
            findings.check(Rule::Answers, fine, || {
                format!("dump {id} is there, and a 404 said it was not: {span:?}")
            });
        }
    }

    /// I2: what was deleted with an answer no longer exists.
    fn check_removals(&self, life: &Life<'_>, findings: &mut Findings) {
        for removal in life.events.removals.iter().filter(|one| one.outcome == Outcome::Done) {
            for (id, (device, _)) in &life.visible {
                let meant = *device == removal.device && removal.id.is_none_or(|one| one == *id);
                let there_before = removal.id.is_some()
                    || self.visible.contains_key(id)
                    || life.answered.get(id).is_some_and(|known| known.by < removal.span.sent);
                findings.check(Rule::Acknowledged, !(meant && there_before), || {
                    format!("dump {id} of device {device} was deleted with a 204 and is there")
                });
            }
        }
    }

    /// I2: what was answered exists, unless a client or retention deleted it.
    fn check_missing(&self, life: &Life<'_>, findings: &mut Findings) {
        let known: BTreeSet<i64> =
            self.visible.keys().chain(life.answered.keys()).copied().collect();
        for id in &known {
            let Some(device) = self.device_of(life, *id) else { continue };
            let fine = life.visible.contains_key(id)
                || life.deleted(*id, device)
                || self.newer(life, *id, device, &known) >= MAX_COREDUMPS;
            findings.check(Rule::Acknowledged, fine, || {
                let newer = self.newer(life, *id, device, &known);
                format!(
                    "dump {id} of device {device} was answered and is missing: no delete was sent, \
                     and only {newer} newer ones can have taken its place"
                )
            });
        }
    }

    fn device_of(&self, life: &Life<'_>, id: i64) -> Option<usize> {
        let before = self.visible.get(&id).map(|before| before.device);
        before.or_else(|| life.answered.get(&id).map(|known| known.device))
    }

    /// How many dumps of the device may be newer: those still there, and those that clients
    /// deleted since.
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
    /// Whether a client may have deleted the dump after it was last known to be there.
    fn deleted(&self, id: i64, device: usize) -> bool {
        let last = self.answered.get(&id).map(|known| known.last);
        let may_delete = |removal: &&Removal| {
            removal.outcome != Outcome::Refused
                && removal.device == device
                && removal.id.is_none_or(|one| one == id)
                && last.is_none_or(|last| !removal.span.before(&last))
        };
        self.events.removals.iter().any(|removal| may_delete(&removal))
    }

    /// Dumps whose ids no client knows and that an unanswered or answered delete of all may have taken.
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
