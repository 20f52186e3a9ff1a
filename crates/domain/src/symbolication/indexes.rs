//! Indexes of ELFs, built once for each build and stored beside it (contract §5.6, §8.2).
//!
//! An index only saves time: if it is missing, it is built from the ELF when a dump needs it. So
//! neither a publication nor a dump waits for it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactFacts, ArtifactStore, ArtifactStoreError};
use crate::artifacts::verified_reads::{ReadObject, VerifiedReads};
use crate::clock::{Clock, Entropy};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::symbolication::index_jobs::SymbolIndexRepository;
use crate::symbolication::index_jobs::{
    ClaimIndex, FinishIndex, IndexJob, LeasedIndexJob, StoredIndex,
};
use crate::symbolication::jobs::StoredBuild;
use crate::symbolication::stored_elf::StoredElf;
use crate::symbolication::symbolizer::{ElfSource, SymbolizerError};
use crate::wakeup::{Wakeup, Worker};

/// The delay of a retry after an outage; the attempt does not count.
const OUTAGE_DELAY: Duration = Duration::from_secs(30);
/// The lease of a job is longer than its attempt by this.
const LEASE_MARGIN: Duration = Duration::from_mins(1);

/// Makes indexes.
#[async_trait]
pub trait SymbolIndexer: Send + Sync {
    /// The format of the indexes, from 1; each change of the format has a greater number.
    fn format(&self) -> u32;

    /// Makes the index of an ELF. `Rejected` when the ELF is at fault.
    async fn index(&self, elf: &dyn ElfSource) -> Result<Bytes, SymbolizerError>;
}

/// Reads stored indexes.
#[derive(Clone)]
pub struct StoredIndexes {
    pub repository: Arc<dyn SymbolIndexRepository>,
    pub reads: VerifiedReads,
    pub clock: Arc<dyn Clock>,
    pub wakeup: Arc<dyn Wakeup>,
}

impl StoredIndexes {
    /// The stored index of a build, if it has this format. If its object is missing or is not
    /// the one which was stored, it is built again later.
    pub async fn load(
        &self,
        elf_sha256: Sha256Digest,
        format: u32,
    ) -> Result<Option<Bytes>, SymbolizerError> {
        let stored = self.repository.find(elf_sha256).await.map_err(unavailable)?;
        let Some(stored) = stored.filter(|stored| stored.format == format) else {
            return Ok(None);
        };
        let bytes = self.read(elf_sha256, stored).await?;
        if bytes.is_none() {
            let key = ArtifactKey::SymbolIndex { elf_sha256, format };
            tracing::warn!(%key, "object {key} is missing or is not the index that was stored; the index will be built again");
            let now = self.clock.now();
            self.repository.forget(elf_sha256, stored, now).await.map_err(unavailable)?;
            self.wakeup.wake(Worker::Indexing);
        }
        Ok(bytes)
    }

    async fn read(
        &self,
        elf_sha256: Sha256Digest,
        StoredIndex { format, facts }: StoredIndex,
    ) -> Result<Option<Bytes>, ArtifactStoreError> {
        let key = ArtifactKey::SymbolIndex { elf_sha256, format };
        match self.reads.read(&key, facts).await {
            Ok(ReadObject::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(ReadObject::Missing | ReadObject::Different)
            | Err(ArtifactStoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How long and how often an index is tried.
#[derive(Debug, Clone)]
pub struct SymbolIndexSettings {
    /// Time limit of an attempt.
    pub attempt_timeout: Duration,
    /// Attempts per build.
    pub max_attempts: u32,
    /// The delay before the second attempt and every later one.
    pub retry_delay: Duration,
}

pub struct SymbolIndexPorts {
    pub repository: Arc<dyn SymbolIndexRepository>,
    pub store: Arc<dyn ArtifactStore>,
    /// Reads of the same store.
    pub reads: VerifiedReads,
    pub indexer: Arc<dyn SymbolIndexer>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Makes missing indexes, one after the other.
#[derive(Clone)]
pub struct SymbolIndexes {
    ports: Arc<SymbolIndexPorts>,
    settings: Arc<SymbolIndexSettings>,
}

impl SymbolIndexes {
    pub fn new(ports: SymbolIndexPorts, settings: SymbolIndexSettings) -> Self {
        Self { ports: Arc::new(ports), settings: Arc::new(settings) }
    }

    /// Makes and stores the index which has been missing for the longest time; `false` when none is
    /// missing. If `interrupted` is ready first, the job is postponed and the attempt does not
    /// count.
    pub async fn index_next(
        &self,
        interrupted: impl Future<Output = ()>,
    ) -> Result<bool, RepositoryError> {
        let SymbolIndexPorts { repository, indexer, clock, entropy, .. } = &*self.ports;
        let owner = LeaseOwner::random(&**entropy);
        let now = clock.now();
        let until = now.after(self.settings.attempt_timeout + LEASE_MARGIN);
        let claim = ClaimIndex { owner: owner.clone(), format: indexer.format(), now, until };
        let Some(IndexJob { elf_sha256, attempts }) = repository.claim(claim).await? else {
            return Ok(false);
        };
        let job = LeasedIndexJob { elf_sha256, owner };
        let outcome = match select(pin!(self.attempt(elf_sha256)), pin!(interrupted)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                repository.postpone(job, clock.now(), false).await?;
                return Ok(true);
            }
        };
        self.end(job, attempts, outcome).await?;
        Ok(true)
    }

    /// [`make`](Self::make) within the time limit.
    async fn attempt(&self, elf_sha256: Sha256Digest) -> Result<ArtifactFacts, SymbolizerError> {
        let limit = self.settings.attempt_timeout;
        match select(pin!(self.make(elf_sha256)), self.ports.clock.sleep(limit)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                let reason = format!("the indexer did not end within {} s", limit.as_secs());
                Err(SymbolizerError::Failed { reason, source: None })
            }
        }
    }

    async fn make(&self, elf_sha256: Sha256Digest) -> Result<ArtifactFacts, SymbolizerError> {
        let SymbolIndexPorts { store, reads, indexer, clock, .. } = &*self.ports;
        let build = StoredBuild { elf_sha256, of_version: None };
        let limit = self.settings.attempt_timeout / 2;
        let elf = StoredElf::new(build, reads.clone(), clock.clone(), limit);
        let bytes = indexer.index(&elf).await?;
        let body = ArtifactBody::from(bytes);
        let key = ArtifactKey::SymbolIndex { elf_sha256, format: indexer.format() };
        store.put(&key, &body).await?;
        Ok(ArtifactFacts { size: body.length(), sha256: body.sha256() })
    }

    async fn end(
        &self,
        job: LeasedIndexJob,
        attempts: u32,
        outcome: Result<ArtifactFacts, SymbolizerError>,
    ) -> Result<(), RepositoryError> {
        let SymbolIndexPorts { repository, indexer, clock, .. } = &*self.ports;
        let (elf_sha256, now) = (job.elf_sha256, clock.now());
        if let Err(error) = &outcome
            && let Some((delay, counts)) = self.retry_delay(error, attempts)
        {
            tracing::warn!(error = error as &dyn std::error::Error, %elf_sha256, "index of build {elf_sha256} could not be built or stored and will be retried");
            return repository.postpone(job, now.after(delay), counts).await;
        }
        let outcome = outcome.map_err(|error| error.to_string());
        match &outcome {
            Ok(facts) => {
                tracing::info!(%elf_sha256, bytes = facts.size, "index of build {elf_sha256} stored");
            }
            Err(reason) => {
                tracing::warn!(%elf_sha256, reason, "index of build {elf_sha256} cannot be built: {reason}; it is not retried");
            }
        }
        let result = FinishIndex { job, format: indexer.format(), outcome, now };
        if !repository.finish(result).await? {
            tracing::info!(%elf_sha256, "index of build {elf_sha256} is not needed: its build was deleted");
        }
        Ok(())
    }

    /// The delay of the retry after this failure, and whether the attempt counts; `None` when there
    /// is no retry.
    fn retry_delay(&self, error: &SymbolizerError, attempts: u32) -> Option<(Duration, bool)> {
        match error {
            SymbolizerError::Unavailable { .. } => Some((OUTAGE_DELAY, false)),
            SymbolizerError::Failed { .. } if attempts < self.settings.max_attempts => {
                Some((self.settings.retry_delay, true))
            }
            SymbolizerError::Failed { .. }
            | SymbolizerError::Rejected { .. }
            | SymbolizerError::ElfMissing => None,
        }
    }
}

fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SymbolizerError {
    SymbolizerError::Unavailable { source: source.into() }
}
