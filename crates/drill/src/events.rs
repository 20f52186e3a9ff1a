//! The actions of clients during one life of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_testkit::invariants::{Findings, Rule, SetFacts};

/// From just before a request was sent until its answer was read, as times since the drill began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) sent: Duration,
    /// `None`: the server died first or did not know the outcome. The request may take effect at
    /// any time.
    pub(super) answered: Option<Duration>,
}

impl Span {
    /// Whether this request had been answered when the other one was sent.
    pub(super) fn before(&self, other: &Self) -> bool {
        self.answered.is_some_and(|answered| answered < other.sent)
    }
}

/// The outcome of a write, as far as the client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx
    Done,
    /// 4xx: nothing was changed.
    Refused,
    /// No answer, or a 503.
    Lost,
}

/// A request that may change something.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// The correlation id in the audit records.
    pub(super) id: String,
    /// Its line in the table.
    pub(super) kind: &'static str,
    pub(super) outcome: Outcome,
    /// The write is a dump that was written to the rescue spool.
    pub(super) is_rescued: bool,
}

/// A dump that was answered with a 404.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    pub(super) id: i64,
    pub(super) span: Span,
}

/// A dump that was sent.
#[derive(Debug, Clone)]
pub(super) struct Post {
    /// Index of the device.
    pub(super) device: usize,
    pub(super) sha256: Sha256Digest,
    pub(super) size: u64,
    pub(super) chip: String,
    pub(super) version: String,
    pub(super) span: Span,
    /// The answered id of the dump.
    pub(super) id: Option<i64>,
    /// The answer was a 503, so the dump may appear once at any later time.
    pub(super) is_rescued: bool,
}

/// A delete of one dump or of all dumps of a device.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) device: usize,
    pub(super) id: Option<i64>,
    pub(super) span: Span,
    pub(super) outcome: Outcome,
}

/// A change of a version.
#[derive(Debug, Clone)]
pub(super) struct VersionChange {
    pub(super) model: usize,
    pub(super) version: &'static str,
    pub(super) act: VersionAct,
    pub(super) span: Span,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(super) enum VersionAct {
    Publish(Box<SetFacts>),
    Activate,
    Delete,
}

impl VersionChange {
    /// The set that a publication publishes.
    pub(super) fn published(&self) -> Option<&SetFacts> {
        match &self.act {
            VersionAct::Publish(facts) => Some(facts),
            VersionAct::Activate | VersionAct::Delete => None,
        }
    }

    /// Whether the change may have had an effect.
    pub(super) fn may_count(&self) -> bool {
        self.outcome != Outcome::Refused
    }
}

/// The actions of clients during one life of the server.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) posts: Vec<Post>,
    pub(super) removals: Vec<Removal>,
    pub(super) versions: Vec<VersionChange>,
    pub(super) writes: Vec<Write>,
    pub(super) absences: Vec<Absence>,
    /// Answers that no client may get.
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

    /// Adds the actions of another client.
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
    fn only_an_answered_request_comes_before_another() {
        let span = |sent, answered: Option<u64>| Span {
            sent: Duration::from_micros(sent),
            answered: answered.map(Duration::from_micros),
        };
        assert!(span(1, Some(2)).before(&span(3, None)));
        assert!(!span(1, Some(3)).before(&span(2, None)));
        assert!(!span(1, None).before(&span(9, None)));
    }
}
