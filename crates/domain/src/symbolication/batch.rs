//! Jobs which were claimed together.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::attempt::Findings;
use super::elf_choice::ElfMatch;
use super::worker::{ParseResult, Symbolicated};
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::symbolication::jobs::{Claimed, FinishJob, ParseJob, StoredBuild, WantedElf};
use crate::timestamp::Timestamp;

/// A leased job.
#[derive(Clone, Copy)]
pub(super) struct LeasedJob<'a> {
    pub(super) job: &'a ParseJob,
    pub(super) owner: &'a LeaseOwner,
    /// Shared by the jobs which were claimed together.
    pub(super) builds: &'a BuildCache,
    /// The last attempt was used up by a worker which died.
    pub(super) is_exhausted: bool,
}

impl LeasedJob<'_> {
    pub(super) fn ended(self, result: ParseResult, findings: &Findings) -> Symbolicated {
        let elf_match = findings.elf_match.map_or("none", ElfMatch::as_str);
        Symbolicated {
            id: self.job.id,
            result,
            attempts: self.job.attempts,
            took: Duration::ZERO,
            elf_match,
            salvaged: findings.salvaged,
            broken_objects: findings.broken_objects,
        }
    }
}

/// The builds which were looked up for jobs of one claim, which are mostly dumps of one build. The
/// cache may be stale: that a build was published meanwhile is noticed when the result is written,
/// and that a build was deleted when its ELF is read. An index which is open needs no ELF.
#[derive(Default)]
pub(super) struct BuildCache(Mutex<Vec<(WantedElf, Vec<StoredBuild>)>>);

impl BuildCache {
    pub(super) fn get(&self, wanted: &WantedElf) -> Option<Vec<StoredBuild>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == wanted).map(|(_, stored)| stored.clone())
    }

    pub(super) fn add(&self, wanted: WantedElf, stored: Vec<StoredBuild>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((wanted, stored));
    }
}

/// The outcome of working on a job.
pub(super) enum Worked {
    /// A result to be written, and the outcome of the job once it is.
    Result(Box<FinishJob>, Symbolicated),
    /// The job was postponed or does not exist any more.
    Ended(Symbolicated),
}

/// A result to be written, and the outcome of the job once it is.
pub(super) struct Unwritten {
    pub(super) result: FinishJob,
    pub(super) symbolicated: Symbolicated,
}

/// Jobs which were claimed together.
pub(super) struct Batch<'a> {
    pub(super) began: Timestamp,
    /// Not worked on yet, in the order of their positions.
    pub(super) waiting: VecDeque<LeasedJob<'a>>,
    pub(super) results: Vec<Unwritten>,
    pub(super) ended: Vec<Symbolicated>,
}

impl<'a> Batch<'a> {
    pub(super) fn of(
        claimed: &'a [Claimed],
        owner: &'a LeaseOwner,
        builds: &'a BuildCache,
        began: Timestamp,
    ) -> Self {
        let leased = claimed.iter().map(|claimed| match claimed {
            Claimed::Job(job) => LeasedJob { job, owner, builds, is_exhausted: false },
            Claimed::Exhausted(job) => LeasedJob { job, owner, builds, is_exhausted: true },
        });
        Self { began, waiting: leased.collect(), results: Vec::new(), ended: Vec::new() }
    }

    /// Whether no other job or result of the batch waits for the current job.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.results.is_empty()
    }

    pub(super) fn add(&mut self, id: i64, worked: Result<Worked, RepositoryError>, took: Duration) {
        match worked {
            Ok(Worked::Result(result, symbolicated)) => {
                let symbolicated = Symbolicated { took, ..symbolicated };
                self.results.push(Unwritten { result: *result, symbolicated });
            }
            Ok(Worked::Ended(symbolicated)) => {
                self.ended.push(Symbolicated { took, ..symbolicated });
            }
            Err(error) => leave_to_lease(id, &error),
        }
    }
}

/// Logs a job whose outcome could not be written and which therefore keeps its lease.
pub(super) fn leave_to_lease(id: i64, error: &RepositoryError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(
        error,
        id,
        "the outcome of the parse of dump {id} could not be written; the dump is parsed again when \
         the lease of its job ends"
    );
}
