//! Chooses the ELF of a dump (contract §6.7). The ELF of another build is never used, because the
//! report would look right and be wrong.

use std::sync::Arc;

use super::Symbolication;
use super::attempt::{Failure, Findings};
use super::batch::LeasedJob;
use super::stored_elf::StoredElf;
use crate::artifacts::key::ArtifactKey;
use crate::coredumps::coredump::{BuildId, ParseErrorCode};
use crate::error::RepositoryError;
use crate::symbolication::jobs::{MissingElf, ParseJob, StoredBuild, WantedBuild, WantedElf};
use crate::symbolication::symbolizer::{
    CrashDump, CrashReport, SymbolicateCoredump, Symbolizer, SymbolizerError,
};

/// How an ELF was chosen (contract §6.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElfMatch {
    /// By the build the dump names.
    Exact,
    /// By model and version text: the dump names no build.
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

/// The builds from which a dump may come, the preferred build first, and how they were found.
pub(super) struct BuildChoice {
    wanted: WantedElf,
    stored: Vec<StoredBuild>,
}

impl BuildChoice {
    const fn elf_match(&self) -> ElfMatch {
        match self.wanted {
            WantedElf::Build(_) => ElfMatch::Exact,
            WantedElf::Version { .. } => ElfMatch::Version,
        }
    }
}

impl Symbolication {
    /// The builds from which a dump with this build id, or without a build id, may come.
    pub(super) async fn choose_builds(
        &self,
        leased: LeasedJob<'_>,
        build_id: Option<BuildId>,
    ) -> Result<BuildChoice, RepositoryError> {
        let wanted = wanted_elf(leased.job, build_id);
        if let Some(stored) = leased.builds.get(&wanted) {
            return Ok(BuildChoice { wanted, stored });
        }
        let stored = self.ports.jobs.builds(&wanted).await?;
        leased.builds.add(wanted.clone(), stored.clone());
        Ok(BuildChoice { wanted, stored })
    }

    /// Makes the report with the first build whose ELF is in the store, and notes how the ELF was
    /// chosen or which one was missing.
    pub(super) async fn symbolicate(
        &self,
        dump: &CrashDump,
        choice: BuildChoice,
        symbolizer: &dyn Symbolizer,
        findings: &mut Findings,
    ) -> Result<CrashReport, Failure> {
        let mut broken = Vec::new();
        for build in &choice.stored {
            let elf = Arc::new(self.elf_of(build.clone()));
            let task = SymbolicateCoredump { dump: dump.clone(), elf: elf.clone() };
            let outcome = symbolizer.symbolicate(task).await;
            let keys = elf.take_broken().into_iter();
            broken.extend(keys.map(|key| BrokenElf { build: build.clone(), key }));
            if !matches!(outcome, Err(SymbolizerError::ElfMissing)) {
                findings.elf_match = Some(choice.elf_match());
                self.note_broken(&choice.wanted, broken, findings).await?;
                return Ok(outcome?);
            }
        }
        self.note_broken(&choice.wanted, broken, findings).await?;
        let message = not_stored(&choice.wanted, dump);
        let tried = choice.stored.iter().map(|build| build.elf_sha256).collect();
        findings.missing_elf = Some(MissingElf { wanted: choice.wanted, tried });
        Err(Failure::permanent(ParseErrorCode::ElfNotFound, message))
    }

    fn elf_of(&self, build: StoredBuild) -> StoredElf {
        // Half of the time limit: a slow store is noticed before it looks like a slow engine.
        let limit = self.settings.attempt_timeout / 2;
        StoredElf::new(build, self.ports.reads.clone(), self.ports.clock.clone(), limit)
    }

    /// Counts broken objects, except those whose rows were deleted meanwhile.
    async fn note_broken(
        &self,
        wanted: &WantedElf,
        broken: Vec<BrokenElf>,
        findings: &mut Findings,
    ) -> Result<(), RepositoryError> {
        if broken.is_empty() {
            return Ok(());
        }
        let stored = self.ports.jobs.builds(wanted).await?;
        for BrokenElf { build, key } in broken {
            if stored.contains(&build) {
                findings.broken_objects += 1;
                tracing::error!(%key, "ELF {key} is missing or is not the one which was stored; upload the firmware of its version again");
            }
        }
        Ok(())
    }
}

/// An object which is missing, or is not the ELF of its build.
struct BrokenElf {
    build: StoredBuild,
    key: ArtifactKey,
}

fn wanted_elf(job: &ParseJob, build_id: Option<BuildId>) -> WantedElf {
    let version = job.firmware_version.clone();
    match build_id {
        Some(build_id) => {
            WantedElf::Build(WantedBuild { build_id, model: job.model.clone(), version })
        }
        None => WantedElf::Version { model_id: job.model_id, version },
    }
}

fn not_stored(wanted: &WantedElf, dump: &CrashDump) -> String {
    match wanted {
        WantedElf::Build(wanted) => format!("no ELF of build {} is stored", wanted.build_id),
        WantedElf::Version { version, .. } => {
            format!("no ELF of version {version} of model {} is stored", dump.model)
        }
    }
}
