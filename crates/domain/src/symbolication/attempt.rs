//! One attempt to make a report: dump and ELF in, report or reason out.

use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactFacts, ArtifactStoreError};
use crate::artifacts::verified_reads::ReadObject;
use crate::coredumps::Coredumps;
use crate::coredumps::body;
use crate::coredumps::coredump::{BuildId, ParseErrorCode, ParseFault};
use crate::error::RepositoryError;
use crate::symbolication::elf_choice::{ElfMatch, LookedUp, WantedBuilds};
use crate::symbolication::jobs::{MissingElf, ParseJob};
use crate::symbolication::symbolizer::{CrashDump, CrashReport, Symbolizer, SymbolizerError};

/// Why an attempt made no report.
pub(crate) enum AttemptError {
    /// Every attempt would end so.
    Permanent(ParseFault),
    /// Another attempt may go better.
    Transient { reason: String },
    /// A dependency is down.
    Outage,
    /// The dump was deleted meanwhile.
    Deleted,
}

impl AttemptError {
    pub(crate) fn permanent(code: ParseErrorCode, message: impl Into<String>) -> Self {
        Self::Permanent(ParseFault { code, message: message.into() })
    }

    fn outage(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error, "a parse waits for a dependency");
        Self::Outage
    }
}

impl From<RepositoryError> for AttemptError {
    fn from(error: RepositoryError) -> Self {
        Self::outage(&error)
    }
}

impl From<ArtifactStoreError> for AttemptError {
    fn from(error: ArtifactStoreError) -> Self {
        // The next read may be whole; but not for ever.
        if let ArtifactStoreError::Damaged { .. } = error {
            return Self::Transient { reason: error.to_string() };
        }
        Self::outage(&error)
    }
}

impl From<SymbolizerError> for AttemptError {
    fn from(error: SymbolizerError) -> Self {
        match error {
            SymbolizerError::Rejected { code, reason } => Self::permanent(code, reason),
            SymbolizerError::Failed { reason, source } => {
                let error = source.as_deref().map(|source| source as &dyn std::error::Error);
                tracing::warn!(error, "an attempt of a parse failed: {reason}");
                Self::Transient { reason }
            }
            SymbolizerError::Unavailable { .. } | SymbolizerError::ElfMissing => {
                Self::outage(&error)
            }
        }
    }
}

/// What is found out during an attempt, whether or not it makes a report.
#[derive(Default)]
pub(crate) struct Findings {
    /// The build the dump tells of.
    pub(crate) build_id: Option<BuildId>,
    /// How its ELF was chosen.
    pub(crate) elf_match: Option<ElfMatch>,
    /// What the body was read as, when it had to be repaired.
    pub(crate) salvaged: Option<&'static str>,
    /// The structured report of what needs no ELF.
    pub(crate) preview: Option<String>,
    /// The ELF that was looked for in vain.
    pub(crate) missing_elf: Option<MissingElf>,
    /// Objects of visible rows that are missing or other ones.
    pub(crate) broken_objects: u64,
}

impl Coredumps {
    pub(crate) async fn attempt(
        &self,
        (job, known): (&ParseJob, &LookedUp),
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<CrashReport, AttemptError> {
        let limit = self.settings.longest_attempt;
        let began = self.ports.clock.now();
        let Some(prepared) = self.within(limit, self.prepare((job, known), findings)).await else {
            tracing::warn!(id = job.id, "the dump could not be read in time");
            return Err(AttemptError::Outage);
        };
        let (dump, builds) = prepared?;
        let left = limit.saturating_sub(self.ports.clock.now().since(began));
        let symbolicated = self.symbolicate((job, &dump, builds), symbolizer, findings);
        let outcome = self.within(left, symbolicated).await.unwrap_or_else(|| {
            let reason = format!("the engine did not answer within {} s", limit.as_secs());
            Err(AttemptError::Transient { reason })
        });
        if let Err(AttemptError::Permanent(_) | AttemptError::Transient { .. }) = outcome {
            self.preview(&dump, symbolizer, findings).await?;
        }
        outcome
    }

    /// What `work` comes to; `None` when it takes longer.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), self.ports.clock.sleep(limit)).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(((), _)) => None,
        }
    }

    async fn prepare(
        &self,
        (job, known): (&ParseJob, &LookedUp),
        findings: &mut Findings,
    ) -> Result<(CrashDump, WantedBuilds), AttemptError> {
        let stored = self.load(job, findings).await?;
        let body = {
            // One at a time: a hostile body may take a second and 200 MiB.
            let _turn = self.unwrapping.lock().await;
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
        Ok((dump, self.wanted_builds((job, known), findings.build_id.clone()).await?))
    }

    /// Notes what can be told of a dump that gets no report. That no ELF would help goes before
    /// every other reason.
    async fn preview(
        &self,
        dump: &CrashDump,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<(), AttemptError> {
        match self.within(self.settings.longest_attempt, symbolizer.preview(dump)).await {
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
    async fn load(&self, job: &ParseJob, findings: &mut Findings) -> Result<Bytes, AttemptError> {
        let key = ArtifactKey::Coredump { device: job.device.clone(), id: job.id };
        let facts = ArtifactFacts { size: job.size, sha256: job.sha256 };
        let message = match self.ports.reads.read(&key, facts).await? {
            ReadObject::Bytes(bytes) => return Ok(bytes),
            ReadObject::Missing => "the stored dump is gone",
            ReadObject::Different => "the stored object is not the dump that was received",
        };
        // Deleted between the two looks: then nothing is broken.
        if self.find(job.device_id, job.id).await?.is_none() {
            return Err(AttemptError::Deleted);
        }
        findings.broken_objects += 1;
        tracing::error!(id = job.id, "{message}");
        Err(AttemptError::permanent(ParseErrorCode::DumpMissing, message))
    }
}
