//! What was checked, and what was found wrong.

use std::collections::BTreeMap;

/// What must hold (contract §9), and that the process behaves.
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

/// Counts of checks by rule, and every violation in words.
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
