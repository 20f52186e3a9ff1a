//! What was checked and what was found wrong.

use std::collections::BTreeMap;

use super::events::Events;

/// What must hold (contract §9), and that the process behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Database,
    Objects,
    Acknowledged,
    Refused,
    Outbox,
    DeletesInUse,
    Garbage,
    Pointers,
    Retention,
    Parses,
    WholeFiles,
    Answers,
    Process,
}

impl Rule {
    /// All of them, as the table lists them.
    pub(super) const ALL: [Self; 13] = [
        Self::Database,
        Self::Objects,
        Self::Acknowledged,
        Self::Refused,
        Self::Outbox,
        Self::DeletesInUse,
        Self::Garbage,
        Self::Pointers,
        Self::Retention,
        Self::Parses,
        Self::WholeFiles,
        Self::Answers,
        Self::Process,
    ];

    /// Its line in the table.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Database => "database: integrity_check, foreign_key_check, no deadlocks",
            Self::Objects => "I1  visible rows have their objects",
            Self::Acknowledged => "I2  what was answered is there, counted and stays deleted",
            Self::Refused => "I3  what was refused is nowhere, the unanswered whole or absent",
            Self::Outbox => "I4  the outbox drains, objects of deleted rows go",
            Self::DeletesInUse => "I5  the drain takes no object in use",
            Self::Garbage => "I6  sweeps leave exactly what is referred to",
            Self::Pointers => "I8  pointers name versions that should be current",
            Self::Retention => "I9  surplus only for its reasons",
            Self::Parses => "I10 pending dumps get a result, one claim at a time",
            Self::WholeFiles => "I14 no file is partial, nothing temporary shows",
            Self::Answers => "answers: statuses and bytes as the contract has them",
            Self::Process => "process: ready in time, no panic, ends by our kill only",
        }
    }
}

/// Counts per rule, and every violation in words.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checks: BTreeMap<Rule, u64>,
    violations: Vec<(Rule, String)>,
    /// Put in front of each violation.
    place: String,
}

impl Findings {
    /// What violations found from now on begin with.
    pub(super) fn at(&mut self, place: String) {
        self.place = place;
    }

    /// Counts a check; `violation` is asked only if it failed.
    pub(super) fn check(&mut self, rule: Rule, holds: bool, violation: impl FnOnce() -> String) {
        *self.checks.entry(rule).or_default() += 1;
        if !holds {
            let violation = format!("{}: {}", self.place, violation());
            println!("VIOLATION {rule:?} {violation}");
            self.violations.push((rule, violation));
        }
    }

    /// Counts checks that held.
    pub(super) fn held(&mut self, rule: Rule, count: u64) {
        *self.checks.entry(rule).or_default() += count;
    }

    /// Counts answers that clients looked at.
    pub(super) fn answers(&mut self, events: &Events) {
        self.held(Rule::Answers, events.verified - events.problems.len() as u64);
        for (rule, problem) in &events.problems {
            self.check(*rule, false, || problem.clone());
        }
    }

    /// How often a rule was checked.
    pub(super) fn checks(&self, rule: Rule) -> u64 {
        self.checks.get(&rule).copied().unwrap_or(0)
    }

    /// How often a rule was violated.
    pub(super) fn violations_of(&self, rule: Rule) -> usize {
        self.violations.iter().filter(|(broken, _)| *broken == rule).count()
    }

    /// Every violation, with its place.
    pub(super) fn violations(&self) -> impl ExactSizeIterator<Item = &str> {
        self.violations.iter().map(|(_, violation)| &**violation)
    }
}
