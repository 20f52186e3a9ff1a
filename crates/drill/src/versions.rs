//! Which versions must exist, with which sets, and which version is current.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result};
use coredock_testkit::invariants::{Findings, Rows, Rule, SetFacts, VersionRow};

use super::MAX_FIRMWARES;
use super::events::{Events, Outcome, VersionAct, VersionChange};
use super::fleet::Fleet;
use super::material::MODELS;

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Index of the model.
    pub(super) model: usize,
    pub(super) version: String,
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "version {} of {}", self.version, MODELS[self.model])
    }
}

/// The versions of the fleet.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Visible at the last comparison.
    visible: BTreeMap<Key, Visible>,
    /// Current version per model at the last comparison.
    pointers: BTreeMap<usize, Option<String>>,
    /// Versions that were visible once and are deleted.
    deleted: BTreeSet<Key>,
    /// Versions of which publications without an answer may have left objects.
    left_over: BTreeSet<Key>,
}

#[derive(Debug)]
struct Visible {
    facts: SetFacts,
    place: (String, i64),
}

/// A life of the server and the rows at its end.
struct Life<'a> {
    events: &'a Events,
    visible: BTreeMap<Key, &'a VersionRow>,
    pointers: BTreeMap<usize, Option<String>>,
}

impl Versions {
    /// Compares the rows with the answers of a life, and remembers both.
    pub(super) fn compare(
        &mut self,
        events: &Events,
        rows: &Rows,
        fleet: &Fleet,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut visible = BTreeMap::new();
        for row in &rows.versions {
            let model = fleet.model(row.model_id).context("a version of an unknown model")?;
            visible.insert(Key { model, version: row.version.clone() }, row);
        }
        let mut pointers = BTreeMap::new();
        for model in &rows.models {
            let number = fleet.model(model.id).context("an unknown model")?;
            pointers.insert(number, model.current.clone());
        }
        let life = Life { events, visible, pointers };
        for (key, row) in &life.visible {
            findings.check(Rule::Acknowledged, self.may_have(&life, key, &row.facts), || {
                format!("{key} has a set that it must not have (any more)")
            });
        }
        for key in self.expected(&life) {
            let is_plausible = life.visible.contains_key(&key) || self.may_be_missing(&life, &key);
            findings.check(Rule::Acknowledged, is_plausible, || {
                format!("{key} was published and is missing without a reason")
            });
        }
        for model in 0..MODELS.len() {
            self.check_pointer(&life, model, findings);
        }
        self.remember(&life);
        Ok(())
    }

    /// Versions whose objects must not exist when the outbox is empty.
    pub(super) fn without_objects(&self) -> impl Iterator<Item = &Key> {
        self.deleted.difference(&self.left_over)
    }

    /// After a sweep no object of an unanswered publication is left.
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

    /// The versions that were visible before or were published with an answer.
    fn expected(&self, life: &Life<'_>) -> BTreeSet<Key> {
        let published = life.events.versions.iter();
        let published = published
            .filter(|change| change.published().is_some() && change.outcome == Outcome::Done);
        self.visible.keys().cloned().chain(published.map(VersionChange::key)).collect()
    }

    /// I2, I3: the set can be the last one that was written.
    fn may_have(&self, life: &Life<'_>, key: &Key, facts: &SetFacts) -> bool {
        let publications = life.of(key).filter(|change| change.published().is_some());
        let mut last = publications.clone().filter(|change| {
            change.may_count() && !publications.clone().any(|other| change.is_overwritten_by(other))
        });
        let deletes =
            life.of(key).filter(|change| change.is_delete() && change.outcome == Outcome::Done);
        let stays = |change: &VersionChange| !deletes.clone().any(|d| change.span.before(&d.span));
        if last.any(|change| change.published() == Some(facts) && stays(change)) {
            return true;
        }
        let is_overwritten = publications.clone().any(|change| change.outcome == Outcome::Done);
        let is_unchanged = !is_overwritten && deletes.clone().next().is_none();
        is_unchanged && self.visible.get(key).is_some_and(|before| before.facts == *facts)
    }

    /// I2, I9: a delete was sent, or enough newer versions were published.
    fn may_be_missing(&self, life: &Life<'_>, key: &Key) -> bool {
        let last = life.last_published(key);
        let deleted = life.of(key).any(|change| {
            change.is_delete()
                && change.may_count()
                && last.is_none_or(|last| !change.span.before(&last.span))
        });
        deleted || self.newer(life, key) >= MAX_FIRMWARES
    }

    /// The number of versions of the model that may be newer: those that exist, and those deleted
    /// since.
    fn newer(&self, life: &Life<'_>, key: &Key) -> usize {
        let mut others: BTreeSet<Key> = life.visible.keys().cloned().collect();
        let deletes =
            life.events.versions.iter().filter(|change| change.is_delete() && change.may_count());
        others.extend(deletes.map(VersionChange::key));
        let newer = |other: &&Key| {
            other.model == key.model && *other != key && !self.certainly_older(life, other, key)
        };
        others.iter().filter(newer).count()
    }

    fn certainly_older(&self, life: &Life<'_>, other: &Key, than: &Key) -> bool {
        let mut published = life
            .of(other)
            .filter(|change| change.published().is_some() && change.may_count())
            .peekable();
        match (published.peek().is_some(), life.last_published(than)) {
            (false, Some(_)) => true,
            (false, None) => match (self.visible.get(other), self.visible.get(than)) {
                (Some(other), Some(than)) => other.place < than.place,
                _ => false,
            },
            (true, Some(than)) => published.all(|change| change.span.before(&than.span)),
            (true, None) => false,
        }
    }

    /// I2: the pointer names a version that a client can have set last.
    fn check_pointer(&self, life: &Life<'_>, model: usize, findings: &mut Findings) {
        let current = life.pointers.get(&model).cloned().flatten();
        let writes = life.events.versions.iter().filter(|change| change.model == model);
        let writes = writes.filter(|change| !change.is_delete());
        let mut last = writes.clone().filter(|change| {
            change.may_count() && !writes.clone().any(|other| change.is_overwritten_by(other))
        });
        let is_unchanged = !writes.clone().any(|change| change.outcome == Outcome::Done);
        let stays = is_unchanged && self.pointers.get(&model).cloned().flatten() == current;
        let is_plausible = stays || last.any(|change| current.as_deref() == Some(change.version));
        findings.check(Rule::Pointers, is_plausible, || {
            format!("{} points at {current:?}, which no client set last", MODELS[model])
        });
    }
}

impl Life<'_> {
    fn of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a VersionChange> + Clone {
        let changes = self.events.versions.iter();
        changes.filter(move |change| {
            (change.model, change.version) == (key.model, key.version.as_str())
        })
    }

    /// The last publication with an answer.
    fn last_published<'a>(&'a self, key: &'a Key) -> Option<&'a VersionChange> {
        let done = self
            .of(key)
            .filter(|change| change.published().is_some() && change.outcome == Outcome::Done);
        done.max_by_key(|change| change.span.sent)
    }
}

impl VersionChange {
    fn key(&self) -> Key {
        Key { model: self.model, version: self.version.to_owned() }
    }

    fn is_delete(&self) -> bool {
        matches!(self.act, VersionAct::Delete)
    }

    /// Whether `other` was answered, and was sent after the answer to this change.
    fn is_overwritten_by(&self, other: &Self) -> bool {
        other.outcome == Outcome::Done && self.span.before(&other.span)
    }
}

#[cfg(test)]
mod tests;
