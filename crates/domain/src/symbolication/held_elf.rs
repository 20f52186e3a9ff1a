//! The ELF of a build that rows say is held.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::ArtifactStoreError;
use crate::artifacts::verified_reads::VerifiedReads;
use crate::clock::Clock;
use crate::digest::Sha256Digest;
use crate::symbolication::jobs::HeldBuild;
use crate::symbolication::symbolizer::{ElfFile, ElfSource, SymbolizerError};

/// An ELF in the store, opened when it is asked for.
pub(crate) struct HeldElf {
    build: HeldBuild,
    reads: VerifiedReads,
    clock: Arc<dyn Clock>,
    patience: Duration,
    broken: Mutex<Vec<ArtifactKey>>,
}

impl HeldElf {
    /// The ELF of a build; a store that has not opened it within `patience` is down.
    pub(crate) fn new(
        build: HeldBuild,
        reads: VerifiedReads,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Self {
        Self { build, reads, clock, patience, broken: Mutex::default() }
    }

    /// The objects that were opened in vain since the last call: missing, or other ones.
    pub(crate) fn take_broken(&self) -> Vec<ArtifactKey> {
        std::mem::take(&mut *self.broken())
    }

    /// The copy under the digest never changes; that of a version is tried after it. `None` when
    /// neither is what the rows say.
    async fn find(&self) -> Result<Option<ElfFile>, ArtifactStoreError> {
        let sha256 = self.build.elf_sha256;
        let copy = ArtifactKey::Symbols { elf_sha256: sha256 };
        for key in [Some(&copy), self.build.of_version.as_ref()].into_iter().flatten() {
            if let Some((size, bytes)) = self.reads.open_whole(key, sha256).await? {
                return Ok(Some(ElfFile { sha256, size, bytes }));
            }
            self.broken().push(key.clone());
        }
        Ok(None)
    }

    fn broken(&self) -> MutexGuard<'_, Vec<ArtifactKey>> {
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
            Either::Left((Err(error), _)) => Err(error.into()),
            Either::Right(((), _)) => Err(unavailable("the ELF did not come in time".into())),
        }
    }
}
