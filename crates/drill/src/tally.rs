//! The table at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use coredock_testkit::invariants::{Findings, Rule};

use super::events::Events;

/// The text that a drill prints at its end.
pub(super) struct Table {
    pub(super) text: String,
    pub(super) violations: usize,
}

/// The work of the server when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The start.
    Start,
    /// The recovery after another kill.
    Recovery,
    /// The requests of clients.
    Load,
}

impl Phase {
    const fn text(self) -> &'static str {
        match self {
            Self::Start => "while starting",
            Self::Recovery => "while recovering",
            Self::Load => "under load",
        }
    }
}

/// Counts of everything that happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) trials: usize,
    pub(super) kills: BTreeMap<Phase, u64>,
    pub(super) parses: usize,
    pub(super) leftovers: usize,
    posts: u64,
    rescued: u64,
    faults: BTreeMap<&'static str, u64>,
    requests: BTreeMap<(&'static str, String), u64>,
}

impl Tally {
    /// Adds the actions of clients.
    pub(super) fn add(&mut self, events: &Events) {
        for (key, count) in &events.requests {
            *self.requests.entry(key.clone()).or_default() += count;
        }
        let answered = events.posts.iter().filter(|post| post.id.is_some()).count();
        self.posts += u64::try_from(answered).unwrap_or(0);
        let rescued = events.posts.iter().filter(|post| post.is_rescued).count();
        self.rescued += u64::try_from(rescued).unwrap_or(0);
    }

    /// Adds a fault.
    pub(super) fn fault(&mut self, text: &'static str) {
        *self.faults.entry(text).or_default() += 1;
    }

    /// Adds servers killed under load.
    pub(super) fn killed(&mut self, kills: usize) {
        *self.kills.entry(Phase::Load).or_default() += u64::try_from(kills).unwrap_or(0);
    }

    /// One line between trials.
    pub(super) fn progress(
        &self,
        elapsed: Duration,
        visible: usize,
        findings: &Findings,
    ) -> String {
        let (trials, seconds) = (self.trials, elapsed.as_secs_f64());
        let violations = findings.violations().len();
        let kills: u64 = self.kills.values().sum();
        let requests: u64 = self.requests.values().sum();
        let (posts, rescued, parses) = (self.posts, self.rescued, self.parses);
        format!(
            "{trials:>5} trials, {seconds:>6.1} s: {kills} kills, {requests} requests, \
             {posts} dumps acknowledged, {rescued} rescued, {parses} parses, {visible} visible, \
             {violations} violations"
        )
    }

    pub(super) fn table(&self, findings: &Findings) -> Table {
        Table { text: self.text(findings), violations: findings.violations().len() }
    }

    fn text(&self, findings: &Findings) -> String {
        let mut table = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "{} trials", self.trials);
        for (phase, count) in &self.kills {
            let _ = writeln!(table, "  {count:>7} kills {}", phase.text());
        }
        for (fault, count) in &self.faults {
            let _ = writeln!(table, "  {count:>7} times {fault}");
        }
        let _ = writeln!(table, "\nrequests");
        let kinds: std::collections::BTreeSet<_> =
            self.requests.keys().map(|(kind, _)| *kind).collect();
        for kind in kinds {
            let of_kind = self.requests.iter().filter(|((of, _), _)| *of == kind);
            let outcomes: Vec<_> =
                of_kind.map(|((_, outcome), count)| format!("{outcome}: {count}")).collect();
            let _ = writeln!(table, "  {kind:<18} {}", outcomes.join(", "));
        }
        let _ = writeln!(table, "\n{:>9} dumps acknowledged", self.posts);
        let _ = writeln!(table, "{:>9} dumps rescued", self.rescued);
        let _ = writeln!(table, "{:>9} calls of the symbolizer", self.parses);
        let _ = writeln!(
            table,
            "{:>9} files of interrupted writes, removed at a start",
            self.leftovers
        );
        let _ = writeln!(table, "\n{:<62} {:>9} {:>10}", "rule", "checks", "violations");
        for rule in Rule::ALL {
            let (checks, violations) = (findings.checks(rule), findings.violations_of(rule));
            let _ = writeln!(table, "{:<62} {checks:>9} {violations:>10}", rule.text());
        }
        let _ = writeln!(table, "I7, I11, I12, I13: covered by `cargo xtask test`");
        table
    }
}
