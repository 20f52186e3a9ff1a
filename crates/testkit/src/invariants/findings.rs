//! Counts of checks, and violations.

use std::collections::BTreeMap;

/// The invariants of contract §9, and rules for answers and processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
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
    /// In the order of the table.
    pub const ALL: [Self; 13] = [
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

    pub const fn text(self) -> &'static str {
        match self {
            Self::Database => "database: integrity_check, foreign_key_check, no deadlocks",
            Self::Objects => "I1  visible rows have their objects",
            Self::Acknowledged => "I2  acknowledged changes exist, counted, and deletions last",
            Self::Refused => "I3  refused changes leave nothing, unanswered all or nothing",
            Self::Outbox => "I4  the outbox drains, objects of deleted rows are deleted",
            Self::DeletesInUse => "I5  the outbox deletes no object in use",
            Self::Garbage => "I6  sweeps leave exactly the objects with references",
            Self::Pointers => "I8  pointers name versions that should be current",
            Self::Retention => "I9  rows beyond a limit have a reason to stay",
            Self::Parses => "I10 pending dumps get a result, one claim at a time",
            Self::WholeFiles => "I14 no file is partial, no temporary file is visible",
            Self::Answers => "answers: statuses and bytes follow the contract",
            Self::Process => "process: ready in time, no panic, ended by the drill only",
        }
    }
}

/// The number of checks of each rule, and a text for every violation.
#[derive(Debug, Default)]
pub struct Findings {
    checks: BTreeMap<Rule, u64>,
    violations: Vec<(Rule, String)>,
    place: String,
}

impl Findings {
    /// Violations found from now on begin with `place`.
    pub fn at(&mut self, place: String) {
        self.place = place;
    }

    /// Counts a check; `violation` is called only if the check failed.
    pub fn check(&mut self, rule: Rule, holds: bool, violation: impl FnOnce() -> String) {
        *self.checks.entry(rule).or_default() += 1;
        if !holds {
            let violation = format!("{}: {}", self.place, violation());
            println!("VIOLATION {rule:?} {violation}");
            self.violations.push((rule, violation));
        }
    }

    /// Counts checks that passed.
    pub fn passed(&mut self, rule: Rule, count: u64) {
        *self.checks.entry(rule).or_default() += count;
    }

    pub fn checks(&self, rule: Rule) -> u64 {
        self.checks.get(&rule).copied().unwrap_or(0)
    }

    pub fn violations_of(&self, rule: Rule) -> usize {
        self.violations.iter().filter(|(broken, _)| *broken == rule).count()
    }

    /// Every violation, with its place.
    pub fn violations(&self) -> impl ExactSizeIterator<Item = &str> {
        self.violations.iter().map(|(_, violation)| &**violation)
    }

    /// Fails the test if there was a violation.
    #[track_caller]
    pub fn assert_none(&self) {
        let violations: Vec<_> =
            self.violations.iter().map(|(rule, text)| format!("{}: {text}", rule.text())).collect();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    }
}
