//! Which ELF belongs to a dump (contract §6.7). One of another build is never used: its answer would
//! be confident nonsense.

use super::Coredumps;
use super::attempt::AttemptError;
use crate::artifact::{ArtifactKey, ArtifactName};
use crate::coredump::{BuildId, ParseErrorCode};
use crate::digest::Sha256Digest;
use crate::firmware::VersionText;
use crate::repository::parse_jobs::{ParseJob, WantedBuild};
use crate::symbolizer::ElfFile;

/// How an ELF was chosen (contract §6.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElfMatch {
    /// By the build the dump tells of.
    Exact,
    /// By model and version text: the dump tells of no build.
    Version,
}

impl ElfMatch {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Version => "version",
        }
    }
}

impl Coredumps {
    /// Opens the ELF of a dump.
    pub(super) async fn open_elf(
        &self,
        job: &ParseJob,
        build_id: Option<&BuildId>,
    ) -> Result<(ElfFile, ElfMatch), AttemptError> {
        match build_id {
            Some(build_id) => Ok((self.elf_of_build(job, build_id).await?, ElfMatch::Exact)),
            None => Ok((self.elf_of_version(job).await?, ElfMatch::Version)),
        }
    }

    async fn elf_of_build(
        &self,
        job: &ParseJob,
        build_id: &BuildId,
    ) -> Result<ElfFile, AttemptError> {
        let wanted = WantedBuild {
            build_id: build_id.clone(),
            model: job.model.clone(),
            version: job.firmware_version.clone(),
        };
        for elf_sha256 in self.ports.jobs.builds(wanted).await? {
            if let Some(elf) = self.open(&ArtifactKey::Symbols { elf_sha256 }, elf_sha256).await? {
                return Ok(elf);
            }
        }
        Err(not_found(format!("no ELF of build {build_id} is held")))
    }

    /// The copy under the build id never changes; the one of the version is tried after it.
    async fn elf_of_version(&self, job: &ParseJob) -> Result<ElfFile, AttemptError> {
        let (model, version) = (&job.model, &job.firmware_version);
        let missing = || not_found(format!("no ELF of version {version} of model {model} is held"));
        let text = VersionText::parse(version).ok_or_else(missing)?;
        let row = self.ports.versions.find(job.model_id, &text).await?.ok_or_else(missing)?;
        let elf_sha256 = row.facts.build_id();
        if let Some(elf) = self.open(&ArtifactKey::Symbols { elf_sha256 }, elf_sha256).await? {
            return Ok(elf);
        }
        self.open(&row.key(ArtifactName::Elf), elf_sha256).await?.ok_or_else(missing)
    }

    /// `None` when the object is missing or is another one.
    async fn open(
        &self,
        key: &ArtifactKey,
        sha256: Sha256Digest,
    ) -> Result<Option<ElfFile>, AttemptError> {
        let opened = self.ports.reads.open_whole(key, sha256).await?;
        Ok(opened.map(|(size, bytes)| ElfFile { sha256, size, bytes }))
    }
}

fn not_found(message: String) -> AttemptError {
    AttemptError::permanent(ParseErrorCode::ElfNotFound, message)
}
