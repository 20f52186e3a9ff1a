//! One attempt to make the report of a dump.

use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};

use super::Symbolication;
use super::batch::LeasedJob;
use super::elf_choice::{BuildChoice, ElfMatch};
use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactFacts, ArtifactStoreError};
use crate::artifacts::verified_reads::ReadObject;
use crate::coredumps::body;
use crate::coredumps::coredump::{BuildId, ParseErrorCode, ParseFault};
use crate::error::RepositoryError;
use crate::symbolication::jobs::{MissingElf, ParseJob};
use crate::symbolication::symbolizer::{CrashDump, CrashReport, Symbolizer, SymbolizerError};

/// The cause of a failure, for the log.
pub(super) type Source = Option<Box<dyn std::error::Error + Send + Sync>>;

/// Why an attempt made no report.
pub(super) enum AttemptError {
    /// Every attempt would end in the same way.
    Permanent(ParseFault),
    /// Another attempt may succeed.
    Transient { reason: String, source: Source },
    /// A dependency is down; the cause is logged.
    Outage,
    /// The dump was deleted meanwhile.
    Deleted,
}

/// The failure of an attempt, before it is logged with the id of its dump.
pub(super) enum Failure {
    Known(AttemptError),
    Outage(Box<dyn std::error::Error + Send + Sync>),
}

impl AttemptError {
    fn permanent(code: ParseErrorCode, message: impl Into<String>) -> Self {
        Self::Permanent(ParseFault { code, message: message.into() })
    }
}

impl Failure {
    pub(super) fn permanent(code: ParseErrorCode, message: impl Into<String>) -> Self {
        Self::Known(AttemptError::permanent(code, message))
    }

    fn log(self, id: i64) -> AttemptError {
        match self {
            Self::Known(error) => error,
            Self::Outage(error) => {
                let error = &*error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    id,
                    "parse of dump {id} postponed: a dependency is unavailable"
                );
                AttemptError::Outage
            }
        }
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Self::Outage(error.into())
    }
}

impl From<ArtifactStoreError> for Failure {
    fn from(error: ArtifactStoreError) -> Self {
        // The next read may succeed, so this is retried; but the attempt counts.
        if let ArtifactStoreError::Damaged { .. } = error {
            return Self::Known(AttemptError::Transient {
                reason: error.to_string(),
                source: None,
            });
        }
        Self::Outage(error.into())
    }
}

impl From<SymbolizerError> for Failure {
    fn from(error: SymbolizerError) -> Self {
        match error {
            SymbolizerError::Rejected { code, reason } => Self::permanent(code, reason),
            SymbolizerError::Failed { reason, source } => {
                Self::Known(AttemptError::Transient { reason, source })
            }
            SymbolizerError::Unavailable { .. } | SymbolizerError::ElfMissing => {
                Self::Outage(error.into())
            }
        }
    }
}

/// What an attempt found out, also if it does not make a report.
#[derive(Default)]
pub(super) struct Findings {
    /// The build the dump names.
    pub(super) build_id: Option<BuildId>,
    /// How its ELF was chosen.
    pub(super) elf_match: Option<ElfMatch>,
    /// What the body was read as, when it had to be repaired.
    pub(super) salvaged: Option<&'static str>,
    /// The structured report without symbols.
    pub(super) preview: Option<String>,
    /// The ELF which was not found.
    pub(super) missing_elf: Option<MissingElf>,
    /// Objects of visible rows which are missing or different.
    pub(super) broken_objects: u64,
}

impl Symbolication {
    /// Makes the report of a leased job, or finds out why there is none.
    pub(super) async fn attempt(
        &self,
        leased: LeasedJob<'_>,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<CrashReport, AttemptError> {
        let id = leased.job.id;
        let limit = self.settings.attempt_timeout;
        let began = self.ports.clock.now();
        let Some(prepared) = self.within(limit, self.prepare(leased, findings)).await else {
            tracing::warn!(
                id,
                "parse of dump {id} postponed: its object could not be read within {} s",
                limit.as_secs()
            );
            return Err(AttemptError::Outage);
        };
        let (dump, choice) = prepared.map_err(|failure| failure.log(id))?;
        let left = limit.saturating_sub(self.ports.clock.now().since(began));
        let symbolicated = self.symbolicate(&dump, choice, symbolizer, findings);
        let outcome = if let Some(outcome) = self.within(left, symbolicated).await {
            outcome.map_err(|failure| failure.log(id))
        } else {
            let reason = format!("the engine did not answer within {} s", limit.as_secs());
            Err(AttemptError::Transient { reason, source: None })
        };
        if let Err(AttemptError::Permanent(_) | AttemptError::Transient { .. }) = outcome {
            let previewed = self.preview(&dump, symbolizer, findings).await;
            previewed.map_err(|failure| failure.log(id))?;
        }
        outcome
    }

    /// The outcome of `work`; `None` when it takes longer than `limit`.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), self.ports.clock.sleep(limit)).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(((), _)) => None,
        }
    }

    /// Reads and unwraps the stored dump, and looks up its builds.
    async fn prepare(
        &self,
        leased: LeasedJob<'_>,
        findings: &mut Findings,
    ) -> Result<(CrashDump, BuildChoice), Failure> {
        let job = leased.job;
        let stored = self.load(job, findings).await?;
        let body = {
            let _permit = self.unwrapping.lock().await;
            body::unwrap(&stored)
        };
        findings.salvaged = body.salvaged.then(|| body.container.as_str());
        findings.build_id = body::build_id(&mut Cursor::new(&body.bytes));
        let dump = CrashDump {
            coredump_id: job.id,
            model: job.model.clone(),
            firmware_version: job.firmware_version.clone(),
            chip: job.chip.clone(),
            body,
        };
        let choice = self.choose_builds(leased, findings.build_id.clone()).await?;
        Ok((dump, choice))
    }

    /// Makes a preview of a dump which does not get a report. If the dump itself is rejected, no
    /// ELF would help: that reason replaces the reason of the attempt.
    async fn preview(
        &self,
        dump: &CrashDump,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        match self.within(self.settings.attempt_timeout, symbolizer.preview(dump)).await {
            Some(Ok(preview)) => findings.preview = preview,
            Some(Err(rejected @ SymbolizerError::Rejected { .. })) => {
                findings.missing_elf = None;
                return Err(rejected.into());
            }
            Some(Err(_)) | None => {}
        }
        Ok(())
    }

    /// The stored body, at most 16 MiB.
    async fn load(&self, job: &ParseJob, findings: &mut Findings) -> Result<Bytes, Failure> {
        let id = job.id;
        let key = ArtifactKey::Coredump { device: job.device.clone(), id };
        let facts = ArtifactFacts { size: job.size, sha256: job.sha256 };
        let message = match self.ports.reads.read(&key, facts).await? {
            ReadObject::Bytes(bytes) => return Ok(bytes),
            ReadObject::Missing => "the stored dump is missing",
            ReadObject::Different => "the stored object is not the dump that was received",
        };
        // If the dump was deleted meanwhile, its object is missing rightly.
        if self.ports.coredumps.find(job.device_id, id).await?.is_none() {
            return Err(Failure::Known(AttemptError::Deleted));
        }
        findings.broken_objects += 1;
        tracing::error!(id, %key, "dump {id} cannot be parsed: {message}");
        Err(Failure::permanent(ParseErrorCode::DumpMissing, message))
    }
}
