//! What clients did during one life of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_testkit::invariants::{Findings, Rule, SetFacts};

/// From the moment before a request was sent to the moment its answer was read; times since the
/// drill began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) sent: Duration,
    /// `None`: the server died first, or could not tell how it ended; it may end at any time.
    pub(super) answered: Option<Duration>,
}

impl Span {
    /// Whether this was over when the other one began.
    pub(super) fn before(&self, other: &Self) -> bool {
        self.answered.is_some_and(|answered| answered < other.sent)
    }
}

/// What a client knows of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx
    Done,
    /// 4xx: it changed nothing.
    Refused,
    /// No answer, or a 503.
    Lost,
}

/// A request that may change something.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// Under which the audit trail has it.
    pub(super) id: String,
    /// Its line in the table.
    pub(super) kind: &'static str,
    pub(super) outcome: Outcome,
    /// It is a dump that was put into the rescue spool.
    pub(super) is_rescued: bool,
}

/// A dump which an answer said does not exist.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    pub(super) id: i64,
    pub(super) span: Span,
}

/// A dump sent.
#[derive(Debug, Clone)]
pub(super) struct Post {
    /// Index of the device.
    pub(super) device: usize,
    pub(super) sha256: Sha256Digest,
    pub(super) size: u64,
    pub(super) chip: String,
    pub(super) version: String,
    pub(super) span: Span,
    /// What was answered.
    pub(super) id: Option<i64>,
    /// It was answered with a 503, and may appear at any time later, once.
    pub(super) is_rescued: bool,
}

/// Dumps of a device deleted: one, or all.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) device: usize,
    pub(super) id: Option<i64>,
    pub(super) span: Span,
    pub(super) outcome: Outcome,
}

/// Something done to a version.
#[derive(Debug, Clone)]
pub(super) struct VersionChange {
    pub(super) model: usize,
    pub(super) version: &'static str,
    pub(super) act: VersionAct,
    pub(super) span: Span,
    pub(super) outcome: Outcome,
}

/// What was done to a version.
#[derive(Debug, Clone)]
pub(super) enum VersionAct {
    Publish(Box<SetFacts>),
    Activate,
    Delete,
}

impl VersionChange {
    /// The set it publishes, if it does.
    pub(super) fn published(&self) -> Option<&SetFacts> {
        match &self.act {
            VersionAct::Publish(facts) => Some(facts),
            VersionAct::Activate | VersionAct::Delete => None,
        }
    }

    /// Whether it may have had an effect.
    pub(super) fn may_count(&self) -> bool {
        self.outcome != Outcome::Refused
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) posts: Vec<Post>,
    pub(super) removals: Vec<Removal>,
    pub(super) versions: Vec<VersionChange>,
    pub(super) writes: Vec<Write>,
    pub(super) absences: Vec<Absence>,
    /// Answers no client may get.
    pub(super) problems: Vec<(Rule, String)>,
    /// Answers that were checked.
    pub(super) verified: u64,
    /// Requests by kind and outcome: a status, or lost.
    pub(super) requests: BTreeMap<(&'static str, String), u64>,
}

impl Events {
    /// Counts the answers that clients checked.
    pub(super) fn check_answers(&self, findings: &mut Findings) {
        findings.passed(Rule::Answers, self.verified - self.problems.len() as u64);
        for (rule, problem) in &self.problems {
            findings.check(*rule, false, || problem.clone());
        }
    }

    /// Adds what another client did.
    pub(super) fn absorb(&mut self, other: Self) {
        self.posts.extend(other.posts);
        self.removals.extend(other.removals);
        self.versions.extend(other.versions);
        self.writes.extend(other.writes);
        self.absences.extend(other.absences);
        self.problems.extend(other.problems);
        self.verified += other.verified;
        for (key, count) in other.requests {
            *self.requests.entry(key).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_answered_comes_before_anything() {
        let span = |sent, answered: Option<u64>| Span {
            sent: Duration::from_micros(sent),
            answered: answered.map(Duration::from_micros),
        };
        assert!(span(1, Some(2)).before(&span(3, None)));
        assert!(!span(1, Some(3)).before(&span(2, None)));
        assert!(!span(1, None).before(&span(9, None)));
    }
}
