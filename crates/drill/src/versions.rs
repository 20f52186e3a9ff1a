//! Which versions must be there, of which set, and which one is current.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use coredock_testkit::invariants::{Findings, Rows, Rule, SetFacts, VersionRow};

use super::MAX_FIRMWARES;
use super::events::{Events, Outcome, VersionAct, VersionChange};
use super::fleet::Fleet;
use super::material::MODELS;

/// Index of a model and a version.
pub(super) type Key = (usize, String);

/// The versions of the fleet.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Visible at the last comparison.
    visible: BTreeMap<Key, Visible>,
    /// Current version per model at the last comparison.
    pointers: BTreeMap<usize, Option<String>>,
    /// Once visible, now not.
    deleted: BTreeSet<Key>,
    /// Publications without an answer may have left objects under these names.
    left_over: BTreeSet<Key>,
}

#[derive(Debug)]
struct Visible {
    facts: SetFacts,
    place: (String, i64),
}

/// One life of the server and what it left.
struct Life<'a> {
    events: &'a Events,
    visible: BTreeMap<Key, &'a VersionRow>,
    pointers: BTreeMap<usize, Option<String>>,
}

impl Versions {
    /// Compares the rows with what clients were answered during a life, and remembers both.
    pub(super) fn judge(
        &mut self,
        events: &Events,
        rows: &Rows,
        fleet: &Fleet,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut visible = BTreeMap::new();
        for row in &rows.versions {
            let model = fleet.model(row.model_id).context("a version of an unknown model")?;
            visible.insert((model, row.version.clone()), row);
        }
        let mut pointers = BTreeMap::new();
        for model in &rows.models {
            let number = fleet.model(model.id).context("an unknown model")?;
            pointers.insert(number, model.current.clone());
        }
        let life = Life { events, visible, pointers };
        for (key, row) in &life.visible {
            findings.check(Rule::Acknowledged, self.may_hold(&life, key, &row.facts), || {
                format!("{key:?} holds a set it should not hold (any more)")
            });
        }
        for key in self.expected(&life) {
            let fine = life.visible.contains_key(&key) || self.may_be_missing(&life, &key);
            findings.check(Rule::Acknowledged, fine, || {
                format!("{key:?} was published and is missing without a reason")
            });
        }
        for model in 0..MODELS.len() {
            self.check_pointer(&life, model, findings);
        }
        self.remember(&life);
        Ok(())
    }

    /// Versions whose objects no longer exist once the outbox is empty.
    pub(super) fn without_objects(&self) -> impl Iterator<Item = &Key> {
        self.deleted.difference(&self.left_over)
    }

    /// After a sweep nothing of an unanswered publication is left.
    pub(super) fn swept(&mut self) {
        self.left_over.clear();
    }

    fn remember(&mut self, life: &Life<'_>) {
        for change in &life.events.versions {
            if change.published().is_some() && change.outcome != Outcome::Done {
                self.left_over.insert(change.key());
            }
        }
        self.deleted.extend(self.expected(life));
        self.deleted.retain(|key| !life.visible.contains_key(key));
        let visible = life.visible.iter();
        self.visible = visible
            .map(|(key, row)| (key.clone(), Visible { facts: row.facts, place: row.place() }))
            .collect();
        self.pointers.clone_from(&life.pointers);
    }

    /// Everything that was visible before or published with an answer.
    fn expected(&self, life: &Life<'_>) -> BTreeSet<Key> {
        let published = life.events.versions.iter();
        let published =
            published.filter(|one| one.published().is_some() && one.outcome == Outcome::Done);
        self.visible.keys().cloned().chain(published.map(VersionChange::key)).collect()
    }

    /// I2, I3: the set is one of those that can be the last one written.
    fn may_hold(&self, life: &Life<'_>, key: &Key, facts: &SetFacts) -> bool {
        let publications = life.of(key).filter(|one| one.published().is_some());
        let mut last = publications.clone().filter(|one| {
            one.may_count() && !publications.clone().any(|other| one.is_overruled_by(other))
        });
        let deletes = life.of(key).filter(|one| one.is_delete() && one.outcome == Outcome::Done);
        let stays = |one: &VersionChange| !deletes.clone().any(|d| one.span.before(&d.span));
        if last.any(|one| one.published() == Some(facts) && stays(one)) {
            return true;
        }
        let overruled = publications.clone().any(|one| one.outcome == Outcome::Done);
        let untouched = !overruled && deletes.clone().next().is_none();
        untouched && self.visible.get(key).is_some_and(|before| before.facts == *facts)
    }

    /// I2, I9: a delete was sent, or enough newer versions came.
    fn may_be_missing(&self, life: &Life<'_>, key: &Key) -> bool {
        let last = life.last_published(key);
        let deleted = life.of(key).any(|one| {
            one.is_delete()
                && one.may_count()
                && last.is_none_or(|last| !one.span.before(&last.span))
        });
        deleted || self.newer(life, key) >= MAX_FIRMWARES
    }

    /// How many versions of the model may be newer: those still there, and those deleted since.
    fn newer(&self, life: &Life<'_>, key: &Key) -> usize {
        let mut others: BTreeSet<Key> = life.visible.keys().cloned().collect();
        let deletes = life.events.versions.iter().filter(|one| one.is_delete() && one.may_count());
        others.extend(deletes.map(VersionChange::key));
        let newer = |other: &&Key| {
            other.0 == key.0 && *other != key && !self.certainly_older(life, other, key)
        };
        others.iter().filter(newer).count()
    }

    fn certainly_older(&self, life: &Life<'_>, other: &Key, than: &Key) -> bool {
        let mut published =
            life.of(other).filter(|one| one.published().is_some() && one.may_count()).peekable();
        match (published.peek().is_some(), life.last_published(than)) {
            (false, Some(_)) => true,
            (false, None) => match (self.visible.get(other), self.visible.get(than)) {
                (Some(other), Some(than)) => other.place < than.place,
                _ => false,
            },
            (true, Some(than)) => published.all(|one| one.span.before(&than.span)),
            (true, None) => false,
        }
    }

    /// I2: the pointer names a version that can be the last one set.
    fn check_pointer(&self, life: &Life<'_>, model: usize, findings: &mut Findings) {
        let current = life.pointers.get(&model).cloned().flatten();
        let writes = life.events.versions.iter().filter(|one| one.model == model);
        let writes = writes.filter(|one| !one.is_delete());
        let mut last = writes.clone().filter(|one| {
            one.may_count() && !writes.clone().any(|other| one.is_overruled_by(other))
        });
        let untouched = !writes.clone().any(|one| one.outcome == Outcome::Done);
        let stays = untouched && self.pointers.get(&model).cloned().flatten() == current;
        let fine = stays || last.any(|one| current.as_deref() == Some(one.version));
        findings.check(Rule::Pointers, fine, || {
            format!("{} points at {current:?}, which no client set last", MODELS[model])
        });
    }
}

impl Life<'_> {
    fn of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a VersionChange> + Clone {
        let changes = self.events.versions.iter();
        changes.filter(move |one| (one.model, one.version) == (key.0, key.1.as_str()))
    }

    /// The last publication with an answer.
    fn last_published<'a>(&'a self, key: &'a Key) -> Option<&'a VersionChange> {
        let done =
            self.of(key).filter(|one| one.published().is_some() && one.outcome == Outcome::Done);
        done.max_by_key(|one| one.span.sent)
    }
}

impl VersionChange {
    fn key(&self) -> Key {
        (self.model, self.version.to_owned())
    }

    fn is_delete(&self) -> bool {
        matches!(self.act, VersionAct::Delete)
    }

    /// Whether the other one was answered and began when this was over.
    fn is_overruled_by(&self, other: &Self) -> bool {
        other.outcome == Outcome::Done && self.span.before(&other.span)
    }
}

#[cfg(test)]
mod tests;
