//! Works on the queue (contract §6.5): claim, attempt, write the result. Each job is worked on at
//! least once and by one worker at a time; a worker which dies costs an attempt and nothing else.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use super::Symbolication;
use super::attempt::{AttemptError, Findings};
use super::batch::{Batch, BuildCache, LeasedJob, Unwritten, Worked, leave_to_lease};
use crate::clock::spread;
use crate::coredumps::coredump::{ParseErrorCode, ParseFault, ParseStatus};
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::symbolication::jobs::{ClaimJobs, FinishJob, Finished, PostponeJob};
use crate::symbolication::symbolizer::{CrashReport, Symbolizer};
use crate::wakeup::Worker;

/// The delay of a retry after an outage; the attempt does not count.
const OUTAGE_DELAY: Duration = Duration::from_secs(30);
/// The delay before a result is written again which the database could not write.
const RESULT_RETRY: Duration = Duration::from_secs(1);
/// A worker works for so long on jobs which it claimed together; then it postpones the rest, so
/// that no job waits for a slow one.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// A worker waits so long before a claim while several dumps arrive: devices wait for an answer,
/// stored dumps do not.
const ARRIVAL_DELAY: Duration = Duration::from_millis(100);
/// Jobs which failed together are not due together again (contract §6.5).
const RETRY_SPREAD: f64 = 0.2;
/// Maximum length of `parsed_output` (contract §6.8).
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
const CUT_MARK: &str = "\n[the report was cut here: it is longer than 1 MiB]";
const FAILED_PREFIX: &str = "Unable to parse coredump: ";

/// The outcome of work on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseResult {
    /// A report was made.
    Parsed,
    /// There is no report, for this reason.
    Error(ParseErrorCode),
    /// The attempt failed; another one will be made.
    Retried,
    /// The job was postponed; the attempt does not count.
    PutBack,
    /// The dump was deleted, or another worker has the job: nothing was changed.
    Dropped,
}

/// The outcome of a job, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbolicated {
    /// The id of the dump.
    pub id: i64,
    pub result: ParseResult,
    /// Attempts, this one included.
    pub attempts: u32,
    pub took: Duration,
    /// How the ELF was chosen: `exact`, `version`, or `none` when there is none.
    pub elf_match: &'static str,
    /// What the body was read as, when it had to be repaired.
    pub salvaged: Option<&'static str>,
    /// Objects of visible rows which were missing or different (I1).
    pub broken_objects: u64,
}

impl Symbolication {
    /// Claims the due jobs which are first in the queue, works on them and returns the outcome of
    /// each. When a job takes long, or when `interrupted` is ready first, the jobs that are left
    /// are postponed and their attempts do not count. Empty when nothing is due or parsing is
    /// disabled.
    pub async fn symbolicate_due(
        &self,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Vec<Symbolicated>, RepositoryError> {
        let Some(symbolizer) = self.symbolizer() else { return Ok(Vec::new()) };
        if self.arrivals.are_many() {
            self.ports.clock.sleep(ARRIVAL_DELAY).await;
        }
        let owner = LeaseOwner::random(&*self.ports.entropy);
        let began = self.ports.clock.now();
        let claim = ClaimJobs {
            owner: owner.clone(),
            now: began,
            until: began.after(self.settings.lease),
            max_attempts: self.settings.max_attempts,
            max_jobs: self.settings.max_claimed,
        };
        let claimed = self.ports.jobs.claim(claim).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // More jobs may be due for another worker.
        self.ports.wakeup.wake(Worker::Parsing);
        let mut interrupted = pin!(interrupted);
        let builds = BuildCache::default();
        let mut batch = Batch::of(&claimed, &owner, &builds, began);
        while let Some(leased) = batch.waiting.pop_front() {
            let now = self.ports.clock.now();
            let worked = {
                let working = pin!(self.work_beside(&mut batch, leased, &**symbolizer));
                match select(working, &mut interrupted).await {
                    Either::Left((worked, _)) => Some(worked),
                    Either::Right(((), _)) => None,
                }
            };
            let Some(worked) = worked else {
                batch.waiting.push_front(leased);
                break;
            };
            batch.add(leased.job.id, worked, self.ports.clock.now().since(now));
            if self.ports.clock.now().since(batch.began) > BATCH_TIME {
                break;
            }
        }
        self.flush(&mut batch).await?;
        Ok(batch.ended)
    }

    /// Works on a job. If it takes long, the rest of its batch is written and postponed meanwhile.
    async fn work_beside(
        &self,
        batch: &mut Batch<'_>,
        leased: LeasedJob<'_>,
        symbolizer: &dyn Symbolizer,
    ) -> Result<Worked, RepositoryError> {
        let mut work = pin!(self.work_on(leased, symbolizer));
        if !batch.is_done()
            && let Either::Left((worked, _)) =
                select(&mut work, self.ports.clock.sleep(BATCH_TIME)).await
        {
            return worked;
        }
        self.flush(batch).await?;
        work.await
    }

    /// Writes the results of a batch and postpones its waiting jobs.
    async fn flush(&self, batch: &mut Batch<'_>) -> Result<(), RepositoryError> {
        let results = std::mem::take(&mut batch.results);
        batch.ended.extend(self.write_results(results).await);
        while let Some(leased) = batch.waiting.pop_front() {
            self.postpone(leased, ParseResult::PutBack, Duration::ZERO).await?;
            self.ports.wakeup.wake(Worker::Parsing);
        }
        Ok(())
    }

    async fn work_on(
        &self,
        leased: LeasedJob<'_>,
        symbolizer: &dyn Symbolizer,
    ) -> Result<Worked, RepositoryError> {
        let job = leased.job;
        if leased.is_exhausted {
            let message =
                format!("the parse was cut short in the last of {} attempts", job.attempts);
            let fault = ParseFault { code: ParseErrorCode::EngineFailed, message };
            return Ok(self.result(leased, Err(fault), Findings::default()));
        }
        let mut findings = Findings::default();
        let attempt = AssertUnwindSafe(self.attempt(leased, symbolizer, &mut findings));
        let Some(outcome) = self.in_lease(leased, attempt.catch_unwind()).await? else {
            return Ok(Worked::Ended(leased.ended(ParseResult::Dropped, &findings)));
        };
        let reason = "the engine crashed".to_owned();
        let crashed = |_| Err(AttemptError::Transient { reason, source: None });
        let fault = match outcome.unwrap_or_else(crashed) {
            Ok(report) => return Ok(self.result(leased, Ok(report), findings)),
            Err(AttemptError::Permanent(fault)) => fault,
            Err(AttemptError::Deleted) => {
                return Ok(Worked::Ended(leased.ended(ParseResult::Dropped, &findings)));
            }
            Err(AttemptError::Outage) => {
                let postponed = self.postpone(leased, ParseResult::PutBack, OUTAGE_DELAY).await?;
                return Ok(Worked::Ended(postponed));
            }
            Err(AttemptError::Transient { reason, source }) => {
                let (id, attempt, max) = (job.id, job.attempts, self.settings.max_attempts);
                let error = source.as_deref().map(|source| source as &dyn std::error::Error);
                tracing::warn!(
                    error,
                    id,
                    attempt,
                    reason,
                    "attempt {attempt} of {max} to parse dump {id} failed: {reason}"
                );
                if attempt < max {
                    let delay = self.retry_delay(attempt);
                    let postponed = self.postpone(leased, ParseResult::Retried, delay).await?;
                    return Ok(Worked::Ended(postponed));
                }
                ParseFault { code: ParseErrorCode::EngineFailed, message: reason }
            }
        };
        Ok(self.result(leased, Err(fault), findings))
    }

    /// Runs `attempt`, and renews the lease until it ends; `None` when the lease is lost.
    async fn in_lease<T>(
        &self,
        leased: LeasedJob<'_>,
        attempt: impl Future<Output = T>,
    ) -> Result<Option<T>, RepositoryError> {
        let id = leased.job.id;
        let mut attempt = pin!(attempt);
        loop {
            let renewal = self.ports.clock.sleep(self.settings.lease / 3);
            match select(attempt, renewal).await {
                Either::Left((outcome, _)) => return Ok(Some(outcome)),
                Either::Right(((), unfinished)) => attempt = unfinished,
            }
            let until = self.ports.clock.now().after(self.settings.lease);
            match self.ports.jobs.renew(id, leased.owner, until).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Most of the lease is left: the next renewal may succeed.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        id,
                        "lease of the parse of dump {id} could not be renewed; if it ends, another \
                         worker parses the dump again"
                    );
                }
            }
        }
    }

    /// The result of a job, to be written.
    fn result(
        &self,
        leased: LeasedJob<'_>,
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
        let LeasedJob { job, owner, .. } = leased;
        let result =
            fault.as_ref().map_or(ParseResult::Parsed, |fault| ParseResult::Error(fault.code));
        let symbolicated = leased.ended(result, &findings);
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
            max_coredumps: self.settings.max_coredumps,
        };
        Worked::Result(Box::new(result), symbolicated)
    }

    /// Writes results together; if that fails, one by one, because one of them may be at fault.
    async fn write_results(&self, results: Vec<Unwritten>) -> Vec<Symbolicated> {
        if results.len() > 1 {
            let jobs: Vec<_> = results.iter().map(|unwritten| unwritten.result.clone()).collect();
            if let Ok(all) = self.ports.jobs.finish(&jobs).await {
                let written = results.into_iter().zip(all);
                return written
                    .map(|(unwritten, finished)| self.conclude(unwritten, finished))
                    .collect();
            }
        }
        let mut ended = Vec::new();
        for unwritten in results {
            match self.write_result(&unwritten.result).await {
                Ok(finished) => ended.push(self.conclude(unwritten, finished)),
                Err(error) => leave_to_lease(unwritten.result.id, &error),
            }
        }
        ended
    }

    /// The outcome of a job whose result was written; `finished` is `None` when its lease was lost.
    fn conclude(&self, unwritten: Unwritten, finished: Option<Finished>) -> Symbolicated {
        let Unwritten { result: job, symbolicated } = unwritten;
        let Some(finished) = finished else {
            return Symbolicated { result: ParseResult::Dropped, ..symbolicated };
        };
        self.pruned.note(&job.device, &finished.pruned, &*self.ports.wakeup);
        if finished.requeued {
            self.ports.wakeup.wake(Worker::Parsing);
            return Symbolicated { result: ParseResult::PutBack, ..symbolicated };
        }
        let status = if job.fault.is_none() { ParseStatus::Parsed } else { ParseStatus::Error };
        let (id, status) = (job.id, status.as_str());
        tracing::info!(
            event = "coredump_parsed",
            id,
            status,
            code = job.fault.as_ref().map(|fault| fault.code.as_str()),
            attempts = symbolicated.attempts,
            "parse of dump {id} ended: {status}"
        );
        symbolicated
    }

    /// Waits for the database, because making the report again may take minutes and the attempt
    /// would count (contract §6.5).
    async fn write_result(&self, result: &FinishJob) -> Result<Option<Finished>, RepositoryError> {
        loop {
            match self.ports.jobs.finish(std::slice::from_ref(result)).await {
                Err(error @ RepositoryError::Unavailable { .. }) => {
                    let (error, id) = (&error as &dyn std::error::Error, result.id);
                    tracing::warn!(
                        error,
                        id,
                        "result of the parse of dump {id} not written: database unavailable; retried"
                    );
                    self.ports.clock.sleep(RESULT_RETRY).await;
                }
                written => return Ok(written?.into_iter().next().flatten()),
            }
        }
    }

    /// Makes a job due again after `delay`.
    async fn postpone(
        &self,
        leased: LeasedJob<'_>,
        result: ParseResult,
        delay: Duration,
    ) -> Result<Symbolicated, RepositoryError> {
        let now = self.ports.clock.now();
        let device = &leased.job.device;
        let postponement = PostponeJob {
            id: leased.job.id,
            device_id: leased.job.device_id,
            device: device.clone(),
            owner: leased.owner.clone(),
            due: now.after(delay),
            counts: result == ParseResult::Retried,
            now,
            max_coredumps: self.settings.max_coredumps,
        };
        let postponed = self.ports.jobs.postpone(postponement).await?.unwrap_or_default();
        self.pruned.note(device, &postponed.pruned, &*self.ports.wakeup);
        Ok(leased.ended(result, &Findings::default()))
    }

    /// The delay after the attempt of this number, counted from 1.
    fn retry_delay(&self, attempt: u32) -> Duration {
        let delays = &self.settings.retry_delays;
        let index = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
        let delay = delays.get(index).or(delays.last()).copied().unwrap_or_default();
        spread(delay, RETRY_SPREAD, &*self.ports.entropy)
    }
}

/// Makes a text acceptable for databases and browsers: no NUL, at most 1 MiB.
fn printable(mut text: String) -> String {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    if text.len() > MAX_OUTPUT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_OUTPUT_BYTES - CUT_MARK.len()));
        text.push_str(CUT_MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reports_are_cut_between_characters_and_say_so() {
        assert_eq!(printable("a\0b".into()), "ab");
        let exact = "x".repeat(MAX_OUTPUT_BYTES);
        assert_eq!(printable(exact.clone()), exact);
        let cut = printable("é".repeat(MAX_OUTPUT_BYTES));
        assert!(cut.len() <= MAX_OUTPUT_BYTES && cut.len() > MAX_OUTPUT_BYTES - 100);
        assert!(cut.lines().next_back().unwrap().contains("1 MiB"));
    }
}
