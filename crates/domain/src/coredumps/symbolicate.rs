//! Working on the queue (contract §6.5): claim, attempt, write the result. At least once, never two
//! at a time; a worker that dies costs an attempt and nothing else.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use super::Coredumps;
use super::attempt::{AttemptError, Findings};
use super::symbols::ElfMatch;
use crate::artifact::UploadId;
use crate::clock::spread;
use crate::coredump::{ParseErrorCode, ParseFault, ParseStatus};
use crate::repository::RepositoryError;
use crate::repository::parse_jobs::{
    ClaimJob, Claimed, FinishJob, Finished, ParseJob, PostponeJob,
};
use crate::symbolizer::{CrashReport, Symbolizer};

/// A job that met an outage is due again after this; the attempt does not count.
const OUTAGE_DELAY: Duration = Duration::from_secs(30);
/// A result that the database could not take is offered again after this.
const RESULT_RETRY: Duration = Duration::from_secs(1);
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
}

impl Held<'_> {
    fn ended(self, result: ParseResult, findings: &Findings) -> Symbolicated {
        let elf_match = findings.elf_match.map_or("none", ElfMatch::as_str);
        Symbolicated {
            id: self.job.id,
            result,
            elf_match,
            salvaged: findings.salvaged,
            broken_objects: findings.broken_objects,
        }
    }
}

impl Coredumps {
    /// Works on the due job of the earliest turn; `None` when nothing is due or nobody makes reports.
    /// When `interrupted` is ready first the job is given back as if it had not been begun.
    pub async fn symbolicate_next(
        &self,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Option<Symbolicated>, RepositoryError> {
        let Some(symbolizer) = self.symbolizer() else { return Ok(None) };
        let owner = UploadId::random(&*self.ports.entropy);
        let now = self.ports.clock.now();
        let claim = ClaimJob {
            owner: owner.clone(),
            now,
            until: now.after(self.settings.lease),
            most_attempts: self.settings.most_attempts,
        };
        let job = match self.ports.jobs.claim(claim).await? {
            Claimed::Nothing => return Ok(None),
            Claimed::Exhausted(job) => {
                return self.give_up(Held { job: &job, owner: &owner }).await.map(Some);
            }
            Claimed::Job(job) => job,
        };
        // More may be due: let another worker look.
        self.ports.due.wake();
        let held = Held { job: &job, owner: &owner };
        let worked = self.work_on(held, &**symbolizer);
        match select(pin!(worked), pin!(interrupted)).await {
            Either::Left((outcome, _)) => outcome.map(Some),
            Either::Right(((), _)) => {
                self.postpone(held, ParseResult::PutBack, Duration::ZERO).await.map(Some)
            }
        }
    }

    async fn work_on(
        &self,
        held: Held<'_>,
        symbolizer: &dyn Symbolizer,
    ) -> Result<Symbolicated, RepositoryError> {
        let job = held.job;
        let mut findings = Findings::default();
        let attempt = AssertUnwindSafe(self.attempt(job, symbolizer, &mut findings));
        let Some(outcome) = self.in_lease(held, attempt.catch_unwind()).await? else {
            return Ok(held.ended(ParseResult::Dropped, &findings));
        };
        let crashed = |_| Err(AttemptError::Transient { reason: "the engine crashed".into() });
        let fault = match outcome.unwrap_or_else(crashed) {
            Ok(report) => return self.finish(held, Ok(report), findings).await,
            Err(AttemptError::Permanent(fault)) => fault,
            Err(AttemptError::Deleted) => return Ok(held.ended(ParseResult::Dropped, &findings)),
            Err(AttemptError::Outage) => {
                return self.postpone(held, ParseResult::PutBack, OUTAGE_DELAY).await;
            }
            Err(AttemptError::Transient { reason })
                if job.attempts < self.settings.most_attempts =>
            {
                tracing::info!(id = job.id, attempt = job.attempts, reason, "parse is tried again");
                let delay = self.retry_delay(job.attempts);
                return self.postpone(held, ParseResult::Retried, delay).await;
            }
            Err(AttemptError::Transient { reason }) => {
                ParseFault { code: ParseErrorCode::EngineFailed, message: reason }
            }
        };
        self.finish(held, Err(fault), findings).await
    }

    /// Runs `attempt`, extending the lease until it ends; `None` when the lease is lost.
    async fn in_lease<T>(
        &self,
        Held { job, owner }: Held<'_>,
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

    async fn finish(
        &self,
        held: Held<'_>,
        outcome: Result<CrashReport, ParseFault>,
        findings: Findings,
    ) -> Result<Symbolicated, RepositoryError> {
        let (report, fault) = match outcome {
            Ok(report) => (report, None),
            Err(fault) => {
                let text = format!("{FAILED_PREFIX}{}", fault.message);
                let structured = findings.preview.clone();
                (CrashReport { text, structured, signature: None }, Some(fault))
            }
        };
        let Held { job, owner } = held;
        let code = fault.as_ref().map(|fault| fault.code);
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
            missing_elf: findings.missing_elf.clone(),
            build_id: findings.build_id.clone(),
            kept_coredumps: self.settings.kept_coredumps,
        };
        let Some(finished) = self.write_result(result).await? else {
            return Ok(held.ended(ParseResult::Dropped, &findings));
        };
        self.note_pruned(&job.device, &finished.pruned);
        if finished.requeued {
            self.ports.due.wake();
            return Ok(held.ended(ParseResult::PutBack, &findings));
        }
        let status = if code.is_none() { ParseStatus::Parsed } else { ParseStatus::Error };
        tracing::info!(
            event = "coredump_parsed",
            id = job.id,
            status = status.as_str(),
            code = code.map(ParseErrorCode::as_str),
            attempts = job.attempts,
            "dump parsed"
        );
        Ok(held.ended(code.map_or(ParseResult::Parsed, ParseResult::Error), &findings))
    }

    /// A report is worth waiting for the database: making it again may take minutes, and the attempt
    /// would count (contract §6.5).
    async fn write_result(&self, result: FinishJob) -> Result<Option<Finished>, RepositoryError> {
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

    /// Ends a job whose workers died in every attempt.
    async fn give_up(&self, held: Held<'_>) -> Result<Symbolicated, RepositoryError> {
        let attempts = held.job.attempts;
        let message = format!("the parse was cut short in the last of {attempts} attempts");
        let fault = ParseFault { code: ParseErrorCode::EngineFailed, message };
        self.finish(held, Err(fault), Findings::default()).await
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
    text.retain(|c| c != '\0');
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
