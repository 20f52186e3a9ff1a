//! Which versions must be there, of which set, and which one is current.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::MAX_FIRMWARES;
use super::events::{Events, Outcome, VersionAct, VersionChange};
use super::findings::{Findings, Rule};
use super::fleet::Fleet;
use super::material::{MODELS, SetFacts};
use super::rows::{Rows, VersionRow};

/// Index of a model and a version.
pub(super) type Key = (usize, String);

/// The versions of the fleet, from the first life of the server to the last one looked at.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Visible when last looked at.
    held: BTreeMap<Key, Held>,
    /// Current version per model, when last looked at.
    pointers: BTreeMap<usize, Option<String>>,
    /// Once visible, now not.
    gone: BTreeSet<Key>,
    /// Publications without answer may have left objects under these names.
    littered: BTreeSet<Key>,
}

#[derive(Debug)]
struct Held {
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
    /// Compares the rows with what clients were told during a life, and remembers them.
    pub(super) fn judge(
        &mut self,
        events: &Events,
        rows: &Rows,
        (fleet, findings): (&Fleet, &mut Findings),
    ) -> Result<()> {
        let mut visible = BTreeMap::new();
        for row in &rows.versions {
            let model = fleet.model(row.model_id).context("a version of an unknown model")?;
            visible.insert((model, row.version.clone()), row);
        }
        let mut pointers = BTreeMap::new();
        for (id, current) in &rows.pointers {
            pointers.insert(fleet.model(*id).context("an unknown model")?, current.clone());
        }
        let life = Life { events, visible, pointers };
        for (key, row) in &life.visible {
            findings.check(Rule::Acknowledged, self.may_hold(&life, key, &row.facts), || {
                format!("{key:?} holds a set it should not hold (any more)")
            });
        }
        for key in self.expected(&life) {
            let fine = life.visible.contains_key(&key) || self.may_be_gone(&life, &key);
            findings.check(Rule::Acknowledged, fine, || {
                format!("{key:?} was published and is gone without a reason")
            });
        }
        for model in 0..MODELS.len() {
            self.check_pointer(&life, model, findings);
        }
        self.remember(&life);
        Ok(())
    }

    /// Versions whose objects are gone once the outbox is empty.
    pub(super) fn without_objects(&self) -> impl Iterator<Item = &Key> {
        self.gone.difference(&self.littered)
    }

    /// After a sweep nothing of an unanswered publication is left.
    pub(super) fn swept(&mut self) {
        self.littered.clear();
    }

    fn remember(&mut self, life: &Life<'_>) {
        for change in &life.events.versions {
            if change.published().is_some() && change.outcome != Outcome::Done {
                self.littered.insert(change.key());
            }
        }
        self.gone.extend(self.expected(life));
        self.gone.retain(|key| !life.visible.contains_key(key));
        let held = |(key, row): (&Key, &&VersionRow)| {
            (key.clone(), Held { facts: row.facts, place: row.place() })
        };
        self.held = life.visible.iter().map(held).collect();
        self.pointers.clone_from(&life.pointers);
    }

    /// Everything that was there before or published with an answer.
    fn expected(&self, life: &Life<'_>) -> BTreeSet<Key> {
        let published = life.events.versions.iter();
        let published =
            published.filter(|one| one.published().is_some() && one.outcome == Outcome::Done);
        self.held.keys().cloned().chain(published.map(VersionChange::key)).collect()
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
        untouched && self.held.get(key).is_some_and(|held| held.facts == *facts)
    }

    /// I2, I9: a delete was sent, or enough newer versions came.
    fn may_be_gone(&self, life: &Life<'_>, key: &Key) -> bool {
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
            (false, None) => match (self.held.get(other), self.held.get(than)) {
                (Some(other), Some(than)) => other.place < than.place,
                _ => false,
            },
            (true, Some(than)) => published.all(|one| one.span.before(&than.span)),
            (true, None) => false,
        }
    }

    /// I2, I8: the pointer names a version of its model, and one that can be the last one set.
    fn check_pointer(&self, life: &Life<'_>, model: usize, findings: &mut Findings) {
        let current = life.pointers.get(&model).cloned().flatten();
        let exists = current
            .as_ref()
            .is_none_or(|version| life.visible.contains_key(&(model, version.clone())));
        findings.check(Rule::Pointers, exists, || {
            format!("{} points at {current:?}, which is not there", MODELS[model])
        });
        let writes = life.events.versions.iter().filter(|one| one.model == model);
        let writes = writes.filter(|one| !one.is_delete());
        let mut last = writes.clone().filter(|one| {
            one.may_count() && !writes.clone().any(|other| one.is_overruled_by(other))
        });
        let untouched = !writes.clone().any(|one| one.outcome == Outcome::Done);
        let stays = untouched && self.pointers.get(&model).cloned().flatten() == current;
        let fine = stays || last.any(|one| current.as_deref() == Some(one.version));
        findings.check(Rule::Pointers, fine, || {
            format!("{} points at {current:?}, which nobody set last", MODELS[model])
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

/// I9 of versions: beyond the limit only the current one and those that pending dumps name.
pub(super) fn check_retention(rows: &Rows, fleet: &Fleet, findings: &mut Findings) {
    for (id, current) in &rows.pointers {
        let mut versions: Vec<_> =
            rows.versions.iter().filter(|version| version.model_id == *id).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.place()));
        for surplus in versions.into_iter().skip(MAX_FIRMWARES) {
            let needed = rows.dumps.iter().any(|dump| {
                let device = fleet.device(dump.device_id);
                let model = device.map(|device| fleet.models[fleet.devices[device].model]);
                model == Some(*id)
                    && dump.firmware_version == surplus.version
                    && dump.parse_status == "PENDING"
            });
            let fine = needed || current.as_ref() == Some(&surplus.version);
            findings.check(Rule::Retention, fine, || {
                format!("version {} of model {id} is surplus", surplus.version)
            });
        }
    }
}

#[cfg(test)]
mod tests;
