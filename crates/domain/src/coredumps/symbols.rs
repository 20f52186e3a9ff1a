//! Which ELF belongs to a dump (contract §6.7). One of another build is never used: its answer would
//! be confident nonsense.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};

use super::Coredumps;
use super::attempt::{AttemptError, Findings};
use crate::artifact::{ArtifactKey, ArtifactName};
use crate::artifact_store::ArtifactStoreError;
use crate::clock::Clock;
use crate::coredump::{BuildId, ParseErrorCode};
use crate::digest::Sha256Digest;
use crate::firmware::VersionText;
use crate::repository::RepositoryError;
use crate::repository::parse_jobs::{HeldBuild, MissingElf, ParseJob, WantedBuild, WantedElf};
use crate::symbolizer::{
    CrashDump, CrashReport, ElfFile, ElfSource, SymbolicateCoredump, Symbolizer, SymbolizerError,
};
use crate::verified_reads::VerifiedReads;

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

/// The builds a dump may come from, the preferred one first, and what was asked for.
pub(super) struct WantedBuilds {
    wanted: WantedElf,
    held: Vec<HeldBuild>,
}

impl WantedBuilds {
    const fn elf_match(&self) -> ElfMatch {
        match self.wanted {
            WantedElf::Build(_) => ElfMatch::Exact,
            WantedElf::Version { .. } => ElfMatch::Version,
        }
    }
}

impl Coredumps {
    /// Looks the builds up that a dump of this id, or without one, may come from.
    pub(super) async fn wanted_builds(
        &self,
        job: &ParseJob,
        build_id: Option<BuildId>,
    ) -> Result<WantedBuilds, RepositoryError> {
        let Some(build_id) = build_id else {
            let (model_id, version) = (job.model_id, job.firmware_version.clone());
            let held = self.held_version(job).await?;
            return Ok(WantedBuilds { wanted: WantedElf::Version { model_id, version }, held });
        };
        let (model, version) = (job.model.clone(), job.firmware_version.clone());
        let wanted = WantedBuild { build_id, model, version };
        let held = self.ports.jobs.builds(wanted.clone()).await?;
        Ok(WantedBuilds { wanted: WantedElf::Build(wanted), held })
    }

    /// The version the device named, if its model has it.
    async fn held_version(&self, job: &ParseJob) -> Result<Vec<HeldBuild>, RepositoryError> {
        let Some(text) = VersionText::parse(&job.firmware_version) else { return Ok(Vec::new()) };
        let row = self.ports.versions.find(job.model_id, &text).await?;
        let held = row.map(|row| HeldBuild {
            elf_sha256: row.facts.build_id(),
            of_version: Some(row.key(ArtifactName::Elf)),
        });
        Ok(held.into_iter().collect())
    }

    /// Has the report made with the first build whose ELF is there, and notes how that was chosen or
    /// what was missing.
    pub(super) async fn symbolicate(
        &self,
        (job, dump, builds): (&ParseJob, &CrashDump, WantedBuilds),
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<CrashReport, AttemptError> {
        let mut broken = Vec::new();
        for build in &builds.held {
            let elf = Arc::new(self.elf_of(build.clone()));
            let task = SymbolicateCoredump { dump: dump.clone(), elf: elf.clone() };
            let outcome = symbolizer.symbolicate(task).await;
            broken.extend(elf.broken());
            if !matches!(outcome, Err(SymbolizerError::ElfMissing)) {
                findings.elf_match = Some(builds.elf_match());
                self.note_broken(job, broken, findings).await?;
                return Ok(outcome?);
            }
        }
        self.note_broken(job, broken, findings).await?;
        let message = not_held(&builds.wanted, job);
        let tried = builds.held.iter().map(|build| build.elf_sha256).collect();
        findings.missing_elf = Some(MissingElf { wanted: builds.wanted, tried });
        Err(AttemptError::permanent(ParseErrorCode::ElfNotFound, message))
    }

    fn elf_of(&self, build: HeldBuild) -> HeldElf {
        HeldElf {
            build,
            reads: self.ports.reads.clone(),
            clock: self.ports.clock.clone(),
            // Found out before the attempt is over, it is the store's fault and not the engine's.
            patience: self.settings.longest_attempt / 2,
            broken: Mutex::default(),
        }
    }

    /// Counts objects that are not what rows say, unless the rows went meanwhile.
    async fn note_broken(
        &self,
        job: &ParseJob,
        broken: Vec<BrokenElf>,
        findings: &mut Findings,
    ) -> Result<(), RepositoryError> {
        if broken.is_empty() {
            return Ok(());
        }
        let still = self.wanted_builds(job, findings.build_id.clone()).await?.held;
        for BrokenElf { build, key } in broken {
            if still.contains(&build) {
                findings.broken_objects += 1;
                tracing::error!(%key, "the ELF of a build that is held is missing or another one");
            }
        }
        Ok(())
    }
}

/// An object that was not the ELF of a build.
struct BrokenElf {
    build: HeldBuild,
    key: ArtifactKey,
}

/// The ELF of a build that is held.
struct HeldElf {
    build: HeldBuild,
    reads: VerifiedReads,
    clock: Arc<dyn Clock>,
    patience: Duration,
    broken: Mutex<Vec<ArtifactKey>>,
}

impl HeldElf {
    /// The copy under the digest never changes; that of a version is tried after it. `None` when
    /// neither is what the rows say.
    async fn find(&self) -> Result<Option<ElfFile>, ArtifactStoreError> {
        let sha256 = self.build.elf_sha256;
        let copy = ArtifactKey::Symbols { elf_sha256: sha256 };
        for key in [Some(&copy), self.build.of_version.as_ref()].into_iter().flatten() {
            if let Some((size, bytes)) = self.reads.open_whole(key, sha256).await? {
                return Ok(Some(ElfFile { sha256, size, bytes }));
            }
            self.keys_of_broken().push(key.clone());
        }
        Ok(None)
    }

    fn broken(&self) -> Vec<BrokenElf> {
        let keys = std::mem::take(&mut *self.keys_of_broken());
        keys.into_iter().map(|key| BrokenElf { build: self.build.clone(), key }).collect()
    }

    fn keys_of_broken(&self) -> MutexGuard<'_, Vec<ArtifactKey>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ElfSource for HeldElf {
    fn sha256(&self) -> Sha256Digest {
        self.build.elf_sha256
    }

    async fn open(&self) -> Result<ElfFile, SymbolizerError> {
        let unavailable = |source| SymbolizerError::Unavailable { source };
        match select(pin!(self.find()), self.clock.sleep(self.patience)).await {
            Either::Left((Ok(found), _)) => found.ok_or(SymbolizerError::ElfMissing),
            // The next read may be whole; but not for ever.
            Either::Left((Err(error @ ArtifactStoreError::Damaged { .. }), _)) => {
                let reason = error.to_string();
                Err(SymbolizerError::Failed { reason, source: Some(error.into()) })
            }
            Either::Left((Err(error), _)) => Err(unavailable(error.into())),
            Either::Right(((), _)) => Err(unavailable("the ELF did not come in time".into())),
        }
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
