//! Indexes of ELFs, built once for each build and stored beside it (contract §5.6, §8.2).
//!
//! An index saves time and nothing else: without one it is built from the ELF when a dump needs it.
//! So neither a publication nor a dump waits for it.

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

/// A job that met an outage is due again after this; the attempt does not count.
const OUTAGE_DELAY: Duration = Duration::from_secs(30);
/// What a job may take beside its longest attempt until its lease ends.
const LEASE_MARGIN: Duration = Duration::from_mins(1);

/// Makes indexes.
#[async_trait]
pub trait SymbolIndexer: Send + Sync {
    /// Which format it makes, from 1; every change makes it greater.
    fn format(&self) -> u32;

    /// Makes the index of an ELF. `Rejected` when the ELF is at fault.
    async fn index(&self, elf: &dyn ElfSource) -> Result<Bytes, SymbolizerError>;
}

/// Reads the indexes that are stored.
#[derive(Clone)]
pub struct StoredIndexes {
    /// Their rows.
    pub rows: Arc<dyn SymbolIndexRepository>,
    /// Reads of where they lie.
    pub reads: VerifiedReads,
    /// The time.
    pub clock: Arc<dyn Clock>,
    pub wakeup: Arc<dyn Wakeup>,
}

impl StoredIndexes {
    /// The index of a build in this format, if one is held. One that is not what its row says is made
    /// anew.
    pub async fn load(
        &self,
        elf_sha256: Sha256Digest,
        format: u32,
    ) -> Result<Option<Bytes>, SymbolizerError> {
        let held = self.rows.find(elf_sha256).await.map_err(unavailable)?;
        let Some(held) = held.filter(|held| held.format == format) else { return Ok(None) };
        let bytes = self.read(elf_sha256, held).await?;
        if bytes.is_none() {
            let key = ArtifactKey::SymbolIndex { elf_sha256, format };
            tracing::warn!(%key, "stored index {key} is missing or different and will be built again");
            let now = self.clock.now();
            self.rows.forget(elf_sha256, held, now).await.map_err(unavailable)?;
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
    /// Longest attempt.
    pub longest_attempt: Duration,
    /// Attempts a build has.
    pub most_attempts: u32,
    /// The delay before the second attempt and every later one.
    pub retry_delay: Duration,
}

/// What making indexes works with.
pub struct SymbolIndexPorts {
    /// Their rows.
    pub rows: Arc<dyn SymbolIndexRepository>,
    /// Where bytes lie.
    pub store: Arc<dyn ArtifactStore>,
    /// Reads of the same store.
    pub reads: VerifiedReads,
    /// Who makes them.
    pub indexer: Arc<dyn SymbolIndexer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Makes the indexes that are missing, one by one.
#[derive(Clone)]
pub struct SymbolIndexes {
    ports: Arc<SymbolIndexPorts>,
    settings: Arc<SymbolIndexSettings>,
}

impl SymbolIndexes {
    /// Builds the use case over its ports.
    pub fn new(ports: SymbolIndexPorts, settings: SymbolIndexSettings) -> Self {
        Self { ports: Arc::new(ports), settings: Arc::new(settings) }
    }

    /// Makes and stores the index that has been missing for longest; `false` when none is missing.
    /// When `interrupted` is ready first the job is given back as if it had not been begun.
    pub async fn index_next(
        &self,
        interrupted: impl Future<Output = ()>,
    ) -> Result<bool, RepositoryError> {
        let SymbolIndexPorts { rows, indexer, clock, entropy, .. } = &*self.ports;
        let owner = LeaseOwner::random(&**entropy);
        let now = clock.now();
        let until = now.after(self.settings.longest_attempt + LEASE_MARGIN);
        let claim = ClaimIndex { owner: owner.clone(), format: indexer.format(), now, until };
        let Some(IndexJob { elf_sha256, attempts }) = rows.claim(claim).await? else {
            return Ok(false);
        };
        let job = LeasedIndexJob { elf_sha256, owner };
        let outcome = match select(pin!(self.attempt(elf_sha256)), pin!(interrupted)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                rows.postpone(job, clock.now(), false).await?;
                return Ok(true);
            }
        };
        self.end(job, attempts, outcome).await?;
        Ok(true)
    }

    /// The stored index of a build.
    async fn attempt(&self, elf_sha256: Sha256Digest) -> Result<ArtifactFacts, SymbolizerError> {
        let limit = self.settings.longest_attempt;
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
        let patience = self.settings.longest_attempt / 2;
        let elf = StoredElf::new(build, reads.clone(), clock.clone(), patience);
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
        let SymbolIndexPorts { rows, indexer, clock, .. } = &*self.ports;
        let (elf_sha256, now) = (job.elf_sha256, clock.now());
        if let Err(error) = &outcome
            && let Some((delay, counts)) = self.again(error, attempts)
        {
            tracing::warn!(error = error as &dyn std::error::Error, %elf_sha256, "index of build {elf_sha256} is not built yet and will be retried");
            return rows.postpone(job, now.after(delay), counts).await;
        }
        let outcome = outcome.map_err(|error| error.to_string());
        match &outcome {
            Ok(facts) => {
                tracing::info!(%elf_sha256, bytes = facts.size, "index of build {elf_sha256} stored");
            }
            Err(reason) => {
                tracing::warn!(%elf_sha256, reason, "index of build {elf_sha256} cannot be built: {reason}");
            }
        }
        let result = FinishIndex { job, format: indexer.format(), outcome, now };
        if !rows.finish(result).await? {
            tracing::info!(%elf_sha256, "index of build {elf_sha256} is not needed: its build was deleted");
        }
        Ok(())
    }

    /// When a job that ended so is due again, and whether the attempt counts; `None`: never.
    fn again(&self, error: &SymbolizerError, attempts: u32) -> Option<(Duration, bool)> {
        match error {
            SymbolizerError::Unavailable { .. } => Some((OUTAGE_DELAY, false)),
            SymbolizerError::Failed { .. } if attempts < self.settings.most_attempts => {
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
