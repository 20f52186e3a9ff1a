//! Which ELF belongs to a dump (contract §6.7). One of another build is never used: its answer would
//! be confident nonsense.

use std::sync::{Arc, Mutex, PoisonError};

use crate::artifacts::key::{ArtifactKey, ArtifactName};
use crate::coredumps::Coredumps;
use crate::coredumps::coredump::{BuildId, ParseErrorCode};
use crate::error::RepositoryError;
use crate::ids::VersionText;
use crate::symbolication::attempt::{AttemptError, Findings};
use crate::symbolication::held_elf::HeldElf;
use crate::symbolication::jobs::{HeldBuild, MissingElf, ParseJob, WantedBuild, WantedElf};
use crate::symbolication::symbolizer::{
    CrashDump, CrashReport, SymbolicateCoredump, Symbolizer, SymbolizerError,
};

/// How an ELF was chosen (contract §6.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElfMatch {
    /// By the build the dump tells of.
    Exact,
    /// By model and version text: the dump tells of no build.
    Version,
}

impl ElfMatch {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Version => "version",
        }
    }
}

/// The builds a dump may come from, the preferred one first, and what was asked for.
pub(crate) struct WantedBuilds {
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

/// What was looked up for jobs that were claimed together, mostly dumps of one build. It is not asked
/// again whether a build that was missing has come, or one that was there has gone: the first is found
/// out when the result is written, the second when its ELF is read; an index that is open needs none.
#[derive(Default)]
pub(crate) struct LookedUp(Mutex<Vec<(WantedElf, Vec<HeldBuild>)>>);

impl LookedUp {
    fn get(&self, wanted: &WantedElf) -> Option<Vec<HeldBuild>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == wanted).map(|(_, held)| held.clone())
    }

    fn add(&self, wanted: WantedElf, held: Vec<HeldBuild>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((wanted, held));
    }
}

impl Coredumps {
    /// The builds that a dump of this id, or without one, may come from, looked up unless they are
    /// known.
    pub(crate) async fn wanted_builds(
        &self,
        (job, known): (&ParseJob, &LookedUp),
        build_id: Option<BuildId>,
    ) -> Result<WantedBuilds, RepositoryError> {
        let version = job.firmware_version.clone();
        let wanted = match build_id {
            Some(build_id) => {
                WantedElf::Build(WantedBuild { build_id, model: job.model.clone(), version })
            }
            None => WantedElf::Version { model_id: job.model_id, version },
        };
        if let Some(held) = known.get(&wanted) {
            return Ok(WantedBuilds { wanted, held });
        }
        let held = self.held_builds(&wanted).await?;
        known.add(wanted.clone(), held.clone());
        Ok(WantedBuilds { wanted, held })
    }

    async fn held_builds(&self, wanted: &WantedElf) -> Result<Vec<HeldBuild>, RepositoryError> {
        match wanted {
            WantedElf::Build(wanted) => self.ports.jobs.builds(wanted.clone()).await,
            WantedElf::Version { model_id, version } => self.held_version(*model_id, version).await,
        }
    }

    /// The version the device named, if its model has it.
    async fn held_version(
        &self,
        model_id: i64,
        version: &str,
    ) -> Result<Vec<HeldBuild>, RepositoryError> {
        let Some(text) = VersionText::parse(version) else { return Ok(Vec::new()) };
        let row = self.ports.versions.find(model_id, &text).await?;
        let held = row.map(|row| HeldBuild {
            elf_sha256: row.facts.build_id(),
            of_version: Some(row.key(ArtifactName::Elf)),
        });
        Ok(held.into_iter().collect())
    }

    /// Has the report made with the first build whose ELF is there, and notes how that was chosen or
    /// what was missing.
    pub(crate) async fn symbolicate(
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
            let keys = elf.take_broken().into_iter();
            broken.extend(keys.map(|key| BrokenElf { build: build.clone(), key }));
            if !matches!(outcome, Err(SymbolizerError::ElfMissing)) {
                findings.elf_match = Some(builds.elf_match());
                self.note_broken(&builds.wanted, broken, findings).await?;
                return Ok(outcome?);
            }
        }
        self.note_broken(&builds.wanted, broken, findings).await?;
        let message = not_held(&builds.wanted, job);
        let tried = builds.held.iter().map(|build| build.elf_sha256).collect();
        findings.missing_elf = Some(MissingElf { wanted: builds.wanted, tried });
        Err(AttemptError::permanent(ParseErrorCode::ElfNotFound, message))
    }

    fn elf_of(&self, build: HeldBuild) -> HeldElf {
        // Found out before the attempt is over, it is the store's fault and not the engine's.
        let patience = self.settings.longest_attempt / 2;
        HeldElf::new(build, self.ports.reads.clone(), self.ports.clock.clone(), patience)
    }

    /// Counts objects that are not what rows say, unless the rows went meanwhile.
    async fn note_broken(
        &self,
        wanted: &WantedElf,
        broken: Vec<BrokenElf>,
        findings: &mut Findings,
    ) -> Result<(), RepositoryError> {
        if broken.is_empty() {
            return Ok(());
        }
        let still = self.held_builds(wanted).await?;
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

fn not_held(wanted: &WantedElf, job: &ParseJob) -> String {
    match wanted {
        WantedElf::Build(wanted) => format!("no ELF of build {} is held", wanted.build_id),
        WantedElf::Version { version, .. } => {
            format!("no ELF of version {version} of model {} is held", job.model)
        }
    }
}
