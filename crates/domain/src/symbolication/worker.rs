//! Working on the queue (contract §6.5): claim, attempt, write the result. At least once, never two
//! at a time; a worker that dies costs an attempt and nothing else.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::clock::spread;
use crate::coredumps::Coredumps;
use crate::coredumps::coredump::{ParseErrorCode, ParseFault, ParseStatus};
use crate::error::RepositoryError;
use crate::ids::UploadId;
use crate::symbolication::attempt::{AttemptError, Findings};
use crate::symbolication::elf_choice::{ElfMatch, LookedUp};
use crate::symbolication::jobs::{ClaimJob, Claimed, FinishJob, Finished, ParseJob, PostponeJob};
use crate::symbolication::symbolizer::{CrashReport, Symbolizer};
use crate::timestamp::Timestamp;

/// A job that met an outage is due again after this; the attempt does not count.
const OUTAGE_DELAY: Duration = Duration::from_secs(30);
/// A result that the database could not take is offered again after this.
const RESULT_RETRY: Duration = Duration::from_secs(1);
/// Jobs that were claimed together are worked on for so long; those that are left are given back, so
/// that none waits for a slow one.
const QUICKLY: Duration = Duration::from_millis(100);
/// While dumps arrive in numbers each worker claims no more often than this: devices wait for an
/// answer, stored dumps for nobody.
const ARRIVALS_FIRST: Duration = Duration::from_millis(100);
/// Jobs that failed together do not come back together (contract §6.5).
const RETRY_SPREAD: f64 = 0.2;
/// Largest `parsed_output` in bytes (contract §6.8).
const LONGEST_OUTPUT: usize = 1024 * 1024;
const CUT_MARK: &str = "\n[the report was cut here: it is longer than 1 MiB]";
const FAILED_PREFIX: &str = "Unable to parse coredump: ";

/// How work on a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseResult {
    /// A report was made.
    Parsed,
    /// There is none, for this reason.
    Error(ParseErrorCode),
    /// The attempt failed; another one will be made.
    Retried,
    /// The job was given back; the attempt does not count.
    PutBack,
    /// The dump was deleted, or somebody else took over: nothing was changed.
    Dropped,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbolicated {
    /// The dump.
    pub id: i64,
    /// How it ended.
    pub result: ParseResult,
    /// Attempts, this one included.
    pub attempts: u32,
    /// How long the attempt took.
    pub took: Duration,
    /// How the ELF was chosen: `exact`, `version`, or `none` when there is none.
    pub elf_match: &'static str,
    /// What the body was read as, when it had to be repaired.
    pub salvaged: Option<&'static str>,
    /// Objects of visible rows that were missing or other ones (I1).
    pub broken_objects: u64,
}

/// A leased job and the holder of the lease.
#[derive(Clone, Copy)]
struct Held<'a> {
    job: &'a ParseJob,
    owner: &'a UploadId,
    /// By those that were claimed with it.
    known: &'a LookedUp,
    /// No attempt is left.
    is_exhausted: bool,
}

impl Held<'_> {
    fn ended(self, result: ParseResult, findings: &Findings) -> Symbolicated {
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

/// Jobs that were claimed together.
struct Batch<'a> {
    /// When.
    began: Timestamp,
    /// Not worked on yet, in the order of their turns.
    waiting: VecDeque<Held<'a>>,
    /// With a result that is yet to be written.
    results: Vec<(FinishJob, Symbolicated)>,
    /// For this time.
    ended: Vec<Symbolicated>,
}

impl<'a> Batch<'a> {
    fn of(
        claimed: &'a [Claimed],
        (owner, known): (&'a UploadId, &'a LookedUp),
        began: Timestamp,
    ) -> Self {
        let held = claimed.iter().filter_map(|claimed| match claimed {
            Claimed::Job(job) => Some(Held { job, owner, known, is_exhausted: false }),
            Claimed::Exhausted(job) => Some(Held { job, owner, known, is_exhausted: true }),
            Claimed::Nothing => None,
        });
        let (results, ended) = Default::default();
        Self { began, waiting: held.collect(), results, ended }
    }

    fn add(&mut self, id: i64, worked: Result<Worked, RepositoryError>, took: Duration) {
        match worked {
            Ok(Worked::Result(result, symbolicated)) => {
                self.results.push((*result, Symbolicated { took, ..symbolicated }));
            }
            Ok(Worked::Ended(symbolicated)) => {
                self.ended.push(Symbolicated { took, ..symbolicated });
            }
            Err(error) => lost(id, &error),
        }
    }
}

/// Nobody hears of the job before its lease runs out.
fn lost(id: i64, error: &RepositoryError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, id, "a parse job is left to the end of its lease");
}

/// How work on a job ended.
enum Worked {
    /// With a result, which is yet to be written; what comes of the job once it is.
    Result(Box<FinishJob>, Symbolicated),
    /// Without one.
    Ended(Symbolicated),
}

impl Coredumps {
    /// Works on the due jobs of the earliest turns, on several only while they are quickly done; what
    /// came of each. Those that are left, because one took long or `interrupted` was ready first, are
    /// given back as if they had not been begun. Empty when nothing is due or nobody makes reports.
    pub async fn symbolicate_due(
        &self,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Vec<Symbolicated>, RepositoryError> {
        let Some(symbolizer) = self.symbolizer() else { return Ok(Vec::new()) };
        if self.many_arrive() {
            self.ports.clock.sleep(ARRIVALS_FIRST).await;
        }
        let owner = UploadId::random(&*self.ports.entropy);
        let began = self.ports.clock.now();
        let claim = ClaimJob {
            owner: owner.clone(),
            now: began,
            until: began.after(self.settings.lease),
            most_attempts: self.settings.most_attempts,
        };
        let claimed = self.ports.jobs.claim_many(claim, symbolizer.most_jobs()).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // More may be due: let another worker look.
        self.ports.due.wake();
        let mut interrupted = pin!(interrupted);
        let known = LookedUp::default();
        let mut batch = Batch::of(&claimed, (&owner, &known), began);
        while let Some(held) = batch.waiting.pop_front() {
            let now = self.ports.clock.now();
            let worked = {
                let working = pin!(self.work_beside(&mut batch, held, &**symbolizer));
                match select(working, &mut interrupted).await {
                    Either::Left((worked, _)) => Some(worked),
                    Either::Right(((), _)) => None,
                }
            };
            let Some(worked) = worked else {
                batch.waiting.push_front(held);
                break;
            };
            batch.add(held.job.id, worked, self.ports.clock.now().since(now));
            if self.ports.clock.now().since(batch.began) > QUICKLY {
                break;
            }
        }
        self.settle(&mut batch).await?;
        Ok(batch.ended)
    }

    /// Works on a job; if that takes long the others of its batch do not wait for it.
    async fn work_beside(
        &self,
        batch: &mut Batch<'_>,
        held: Held<'_>,
        symbolizer: &dyn Symbolizer,
    ) -> Result<Worked, RepositoryError> {
        let mut work = pin!(self.work_on(held, symbolizer));
        let is_alone = batch.waiting.is_empty() && batch.results.is_empty();
        if !is_alone
            && let Either::Left((worked, _)) =
                select(&mut work, self.ports.clock.sleep(QUICKLY)).await
        {
            return worked;
        }
        self.settle(batch).await?;
        work.await
    }

    /// Writes the results of a batch and gives the jobs back that are left.
    async fn settle(&self, batch: &mut Batch<'_>) -> Result<(), RepositoryError> {
        let results = std::mem::take(&mut batch.results);
        batch.ended.extend(self.write_results(results).await);
        while let Some(held) = batch.waiting.pop_front() {
            self.postpone(held, ParseResult::PutBack, Duration::ZERO).await?;
            self.ports.due.wake();
        }
        Ok(())
    }

    async fn work_on(
        &self,
        held: Held<'_>,
        symbolizer: &dyn Symbolizer,
    ) -> Result<Worked, RepositoryError> {
        let job = held.job;
        if held.is_exhausted {
            let message =
                format!("the parse was cut short in the last of {} attempts", job.attempts);
            let fault = ParseFault { code: ParseErrorCode::EngineFailed, message };
            return Ok(self.result(held, Err(fault), Findings::default()));
        }
        let mut findings = Findings::default();
        let attempt = AssertUnwindSafe(self.attempt((job, held.known), symbolizer, &mut findings));
        let Some(outcome) = self.in_lease(held, attempt.catch_unwind()).await? else {
            return Ok(Worked::Ended(held.ended(ParseResult::Dropped, &findings)));
        };
        let crashed = |_| Err(AttemptError::Transient { reason: "the engine crashed".into() });
        let fault = match outcome.unwrap_or_else(crashed) {
            Ok(report) => return Ok(self.result(held, Ok(report), findings)),
            Err(AttemptError::Permanent(fault)) => fault,
            Err(AttemptError::Deleted) => {
                return Ok(Worked::Ended(held.ended(ParseResult::Dropped, &findings)));
            }
            Err(AttemptError::Outage) => {
                let postponed = self.postpone(held, ParseResult::PutBack, OUTAGE_DELAY).await?;
                return Ok(Worked::Ended(postponed));
            }
            Err(AttemptError::Transient { reason })
                if job.attempts < self.settings.most_attempts =>
            {
                tracing::info!(id = job.id, attempt = job.attempts, reason, "parse is tried again");
                let delay = self.retry_delay(job.attempts);
                let postponed = self.postpone(held, ParseResult::Retried, delay).await?;
                return Ok(Worked::Ended(postponed));
            }
            Err(AttemptError::Transient { reason }) => {
                ParseFault { code: ParseErrorCode::EngineFailed, message: reason }
            }
        };
        Ok(self.result(held, Err(fault), findings))
    }

    /// Runs `attempt`, extending the lease until it ends; `None` when the lease is lost.
    async fn in_lease<T>(
        &self,
        Held { job, owner, .. }: Held<'_>,
        attempt: impl Future<Output = T>,
    ) -> Result<Option<T>, RepositoryError> {
        let mut attempt = pin!(attempt);
        loop {
            let renewal = self.ports.clock.sleep(self.settings.lease / 3);
            match select(attempt, renewal).await {
                Either::Left((outcome, _)) => return Ok(Some(outcome)),
                Either::Right(((), unfinished)) => attempt = unfinished,
            }
            let until = self.ports.clock.now().after(self.settings.lease);
            match self.ports.jobs.renew(job.id, owner, until).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Most of the lease is still to run: the next renewal may go better.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, id = job.id, "lease of a parse could not be renewed");
                }
            }
        }
    }

    /// The result of a job, to be written.
    fn result(
        &self,
        held: Held<'_>,
        outcome: Result<CrashReport, ParseFault>,
        findings: Findings,
    ) -> Worked {
        let (report, fault) = match outcome {
            Ok(report) => (report, None),
            Err(fault) => {
                let text = format!("{FAILED_PREFIX}{}", fault.message);
                let structured = findings.preview.clone();
                (CrashReport { text, structured, signature: None }, Some(fault))
            }
        };
        let Held { job, owner, .. } = held;
        let result =
            fault.as_ref().map_or(ParseResult::Parsed, |fault| ParseResult::Error(fault.code));
        let symbolicated = held.ended(result, &findings);
        let result = FinishJob {
            id: job.id,
            device_id: job.device_id,
            device: job.device.clone(),
            owner: owner.clone(),
            now: self.ports.clock.now(),
            fault,
            parsed_output: printable(report.text),
            report: report.structured,
            signature: report.signature,
            missing_elf: findings.missing_elf,
            build_id: findings.build_id,
            kept_coredumps: self.settings.kept_coredumps,
        };
        Worked::Result(Box::new(result), symbolicated)
    }

    /// Writes results together, or one by one when one of them may be at fault.
    async fn write_results(&self, results: Vec<(FinishJob, Symbolicated)>) -> Vec<Symbolicated> {
        if results.len() > 1 {
            let jobs = results.iter().map(|(job, _)| job.clone()).collect();
            if let Ok(all) = self.ports.jobs.finish_all(jobs).await {
                let written = results.into_iter().zip(all);
                return written
                    .map(|(result, finished)| self.concluded(result, finished))
                    .collect();
            }
        }
        let mut ended = Vec::new();
        for result in results {
            match self.write_result(&result.0).await {
                Ok(finished) => ended.push(self.concluded(result, finished)),
                Err(error) => lost(result.0.id, &error),
            }
        }
        ended
    }

    /// What came of a job whose result was offered.
    fn concluded(
        &self,
        (job, symbolicated): (FinishJob, Symbolicated),
        finished: Option<Finished>,
    ) -> Symbolicated {
        let Some(finished) = finished else {
            return Symbolicated { result: ParseResult::Dropped, ..symbolicated };
        };
        self.note_pruned(&job.device, &finished.pruned);
        if finished.requeued {
            self.ports.due.wake();
            return Symbolicated { result: ParseResult::PutBack, ..symbolicated };
        }
        let status = if job.fault.is_none() { ParseStatus::Parsed } else { ParseStatus::Error };
        tracing::info!(
            event = "coredump_parsed",
            id = job.id,
            status = status.as_str(),
            code = job.fault.as_ref().map(|fault| fault.code.as_str()),
            attempts = symbolicated.attempts,
            "dump parsed"
        );
        symbolicated
    }

    /// A report is worth waiting for the database: making it again may take minutes, and the attempt
    /// would count (contract §6.5).
    async fn write_result(&self, result: &FinishJob) -> Result<Option<Finished>, RepositoryError> {
        loop {
            match self.ports.jobs.finish(result.clone()).await {
                Err(error @ RepositoryError::Unavailable { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, id = result.id, "a report waits for the database");
                    self.ports.clock.sleep(RESULT_RETRY).await;
                }
                written => return written,
            }
        }
    }

    /// Gives a job back, to be due after `delay`.
    async fn postpone(
        &self,
        held: Held<'_>,
        result: ParseResult,
        delay: Duration,
    ) -> Result<Symbolicated, RepositoryError> {
        let now = self.ports.clock.now();
        let postponement = PostponeJob {
            id: held.job.id,
            device_id: held.job.device_id,
            device: held.job.device.clone(),
            owner: held.owner.clone(),
            due: now.after(delay),
            counts: result == ParseResult::Retried,
            now,
            kept_coredumps: self.settings.kept_coredumps,
        };
        let postponed = self.ports.jobs.postpone(postponement).await?.unwrap_or_default();
        self.note_pruned(&held.job.device, &postponed.pruned);
        Ok(held.ended(result, &Findings::default()))
    }

    /// How long to wait after the attempt of this number, counted from 1.
    fn retry_delay(&self, attempt: u32) -> Duration {
        let delays = &self.settings.retry_delays;
        let index = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
        let delay = delays.get(index).or(delays.last()).copied().unwrap_or_default();
        spread(delay, RETRY_SPREAD, &*self.ports.entropy)
    }
}

/// A text a database and a browser can take: no NUL, at most 1 MiB.
fn printable(mut text: String) -> String {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    if text.len() > LONGEST_OUTPUT {
        text.truncate(text.floor_char_boundary(LONGEST_OUTPUT - CUT_MARK.len()));
        text.push_str(CUT_MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_cut_at_a_character_and_say_so() {
        assert_eq!(printable("a\0b".into()), "ab");
        let exact = "x".repeat(LONGEST_OUTPUT);
        assert_eq!(printable(exact.clone()), exact);
        let cut = printable("é".repeat(LONGEST_OUTPUT));
        assert!(cut.len() <= LONGEST_OUTPUT && cut.len() > LONGEST_OUTPUT - 100);
        assert!(cut.lines().next_back().unwrap().contains("1 MiB"));
    }
}
