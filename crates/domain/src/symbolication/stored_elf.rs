//! The ELF of a stored build.

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
use crate::symbolication::jobs::StoredBuild;
use crate::symbolication::symbolizer::{ElfFile, ElfSource, SymbolizerError};

/// An ELF in the store, opened on demand.
pub(super) struct StoredElf {
    build: StoredBuild,
    reads: VerifiedReads,
    clock: Arc<dyn Clock>,
    limit: Duration,
    broken: Mutex<Vec<ArtifactKey>>,
}

impl StoredElf {
    /// If the store has not opened the ELF within `limit`, it counts as unavailable.
    pub(super) fn new(
        build: StoredBuild,
        reads: VerifiedReads,
        clock: Arc<dyn Clock>,
        limit: Duration,
    ) -> Self {
        Self { build, reads, clock, limit, broken: Mutex::default() }
    }

    /// The objects which were found missing or different since the last call.
    pub(super) fn take_broken(&self) -> Vec<ArtifactKey> {
        std::mem::take(&mut *self.broken())
    }

    /// Opens the symbol file, which never changes, or else the ELF of a version. `None` when both
    /// are missing or different.
    async fn find(&self) -> Result<Option<ElfFile>, ArtifactStoreError> {
        let sha256 = self.build.elf_sha256;
        let symbols = ArtifactKey::Symbols { elf_sha256: sha256 };
        for key in [Some(&symbols), self.build.of_version.as_ref()].into_iter().flatten() {
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
impl ElfSource for StoredElf {
    fn sha256(&self) -> Sha256Digest {
        self.build.elf_sha256
    }

    async fn open(&self) -> Result<ElfFile, SymbolizerError> {
        let unavailable = |source| SymbolizerError::Unavailable { source };
        match select(pin!(self.find()), self.clock.sleep(self.limit)).await {
            Either::Left((Ok(found), _)) => found.ok_or(SymbolizerError::ElfMissing),
            Either::Left((Err(error), _)) => Err(error.into()),
            Either::Right(((), _)) => {
                Err(unavailable("the ELF could not be opened within the time limit".into()))
            }
        }
    }
}
