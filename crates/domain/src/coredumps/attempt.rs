//! One attempt to make a report: dump and ELF in, report or reason out.

use std::io::Cursor;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{Either, select};

use super::Coredumps;
use super::symbols::ElfMatch;
use crate::artifact::ArtifactKey;
use crate::artifact_store::{ArtifactFacts, ArtifactStoreError};
use crate::coredump::{BuildId, ParseErrorCode, ParseFault, body};
use crate::repository::RepositoryError;
use crate::repository::parse_jobs::{MissingElf, ParseJob};
use crate::symbolizer::{CrashDump, CrashReport, SymbolicateCoredump, Symbolizer, SymbolizerError};
use crate::verified_reads::OpenedObject;

/// Why an attempt made no report.
pub(super) enum AttemptError {
    /// Every attempt would end so.
    Permanent(ParseFault),
    /// Another attempt may go better.
    Transient { reason: String },
    /// A dependency is down.
    Outage,
}

impl AttemptError {
    pub(super) fn permanent(code: ParseErrorCode, message: impl Into<String>) -> Self {
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
            SymbolizerError::Unavailable { .. } => Self::outage(&error),
        }
    }
}

/// What is found out during an attempt, whether or not it makes a report.
#[derive(Default)]
pub(super) struct Findings {
    /// The build the dump tells of.
    pub(super) build_id: Option<BuildId>,
    /// How its ELF was chosen.
    pub(super) elf_match: Option<ElfMatch>,
    /// What the body was read as, when it had to be repaired.
    pub(super) salvaged: Option<&'static str>,
    /// The structured report of what needs no ELF.
    pub(super) preview: Option<String>,
    /// The ELF that was looked for in vain.
    pub(super) missing_elf: Option<MissingElf>,
    /// Objects of visible rows that are missing or other ones.
    pub(super) broken_objects: u64,
}

impl Coredumps {
    pub(super) async fn attempt(
        &self,
        job: &ParseJob,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<CrashReport, AttemptError> {
        let limit = self.settings.longest_attempt;
        let began = self.ports.clock.now();
        let preparing = self.prepare(job, symbolizer, findings);
        let input = match select(pin!(preparing), self.ports.clock.sleep(limit)).await {
            Either::Left((input, _)) => input?,
            Either::Right(((), _)) => {
                tracing::warn!(id = job.id, "dump and ELF could not be read in time");
                return Err(AttemptError::Outage);
            }
        };
        let left = limit.saturating_sub(self.ports.clock.now().since(began));
        match select(symbolizer.symbolicate(input), self.ports.clock.sleep(left)).await {
            Either::Left((outcome, _)) => Ok(outcome?),
            Either::Right(((), _)) => {
                let reason = format!("the engine did not answer within {} s", limit.as_secs());
                Err(AttemptError::Transient { reason })
            }
        }
    }

    async fn prepare(
        &self,
        job: &ParseJob,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<SymbolicateCoredump, AttemptError> {
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
        findings.preview = symbolizer.preview(&dump).await?;
        let elf = self.open_elf(job, findings).await?;
        Ok(SymbolicateCoredump { dump, elf })
    }

    /// The stored body, at most 16 MiB.
    async fn load(&self, job: &ParseJob, findings: &mut Findings) -> Result<Bytes, AttemptError> {
        let mut missing = |message: &str| {
            findings.broken_objects += 1;
            tracing::error!(id = job.id, "{message}");
            Err(AttemptError::permanent(ParseErrorCode::DumpMissing, message))
        };
        let key = ArtifactKey::Coredump { device: job.device.clone(), id: job.id };
        let facts = ArtifactFacts { size: job.size, sha256: job.sha256 };
        let mut pieces = match self.ports.reads.open(&key, facts, 0..job.size).await? {
            OpenedObject::Bytes(pieces) => pieces,
            OpenedObject::Missing => return missing("the stored dump is gone"),
            OpenedObject::Different => {
                return missing("the stored object is not the dump that was received");
            }
        };
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }
}
