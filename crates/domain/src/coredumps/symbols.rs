//! Which ELF belongs to a dump (contract §6.7). One of another build is never used: its answer would
//! be confident nonsense.

use super::Coredumps;
use super::attempt::{AttemptError, Findings};
use crate::artifact::{ArtifactKey, ArtifactName};
use crate::coredump::{BuildId, ParseErrorCode};
use crate::firmware::VersionText;
use crate::repository::parse_jobs::{HeldBuild, MissingElf, ParseJob, WantedBuild, WantedElf};
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
    /// Opens the ELF of a dump, and notes how it was chosen or what was missing.
    pub(super) async fn open_elf(
        &self,
        job: &ParseJob,
        findings: &mut Findings,
    ) -> Result<ElfFile, AttemptError> {
        let (wanted, held, elf_match) = if let Some(build_id) = findings.build_id.clone() {
            let (wanted, held) = self.held_builds(job, build_id).await?;
            (WantedElf::Build(wanted), held, ElfMatch::Exact)
        } else {
            let (model_id, version) = (job.model_id, job.firmware_version.clone());
            let held = self.held_version(job).await?;
            (WantedElf::Version { model_id, version }, held, ElfMatch::Version)
        };
        for build in &held {
            if let Some(elf) = self.open(build, findings).await? {
                findings.elf_match = Some(elf_match);
                return Ok(elf);
            }
        }
        let message = not_held(&wanted, job);
        let tried = held.iter().map(|build| build.elf_sha256).collect();
        findings.missing_elf = Some(MissingElf { wanted, tried });
        Err(AttemptError::permanent(ParseErrorCode::ElfNotFound, message))
    }

    async fn held_builds(
        &self,
        job: &ParseJob,
        build_id: BuildId,
    ) -> Result<(WantedBuild, Vec<HeldBuild>), AttemptError> {
        let (model, version) = (job.model.clone(), job.firmware_version.clone());
        let wanted = WantedBuild { build_id, model, version };
        let held = self.ports.jobs.builds(wanted.clone()).await?;
        Ok((wanted, held))
    }

    /// The version the device named, if its model has it.
    async fn held_version(&self, job: &ParseJob) -> Result<Vec<HeldBuild>, AttemptError> {
        let Some(text) = VersionText::parse(&job.firmware_version) else { return Ok(Vec::new()) };
        let row = self.ports.versions.find(job.model_id, &text).await?;
        let held = row.map(|row| HeldBuild {
            elf_sha256: row.facts.build_id(),
            of_version: Some(row.key(ArtifactName::Elf)),
        });
        Ok(held.into_iter().collect())
    }

    /// The copy under the digest never changes; that of a version is tried after it. `None` when
    /// neither is what the rows say.
    async fn open(
        &self,
        build: &HeldBuild,
        findings: &mut Findings,
    ) -> Result<Option<ElfFile>, AttemptError> {
        let sha256 = build.elf_sha256;
        let copy = ArtifactKey::Symbols { elf_sha256: sha256 };
        for key in [Some(&copy), build.of_version.as_ref()].into_iter().flatten() {
            if let Some((size, bytes)) = self.ports.reads.open_whole(key, sha256).await? {
                return Ok(Some(ElfFile { sha256, size, bytes }));
            }
            findings.broken_objects += 1;
            tracing::error!(%key, "the ELF of a build that is held is missing or another one");
        }
        Ok(None)
    }
}

fn not_held(wanted: &WantedElf, job: &ParseJob) -> String {
    match wanted {
        WantedElf::Build(wanted) => format!("no ELF of build {} is held", wanted.build_id),
        WantedElf::Version { version, .. } => {
            format!("no ELF of version {version} of model {} is held", job.model)
        }
    }
}
