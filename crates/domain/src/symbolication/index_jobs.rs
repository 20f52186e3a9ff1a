//! Rows of symbol indexes: one for each stored build, and the queue of builds without an index
//! (contract §5.6, §8.2).

use async_trait::async_trait;

use crate::artifacts::store::ArtifactFacts;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// Rows of indexes. A publication inserts the row of its build, or makes it due again if its index
/// failed; the row is deleted with the symbol file of the build.
#[async_trait]
pub trait SymbolIndexRepository: Send + Sync {
    /// Leases the build which has lacked an index of this format, or a later one, for the longest
    /// time, and counts the attempt. `None` when nothing is due.
    async fn claim(&self, claim: ClaimIndex) -> Result<Option<IndexJob>, RepositoryError>;

    /// Writes the outcome of a job, releases the lease and queues the delete of an index of another
    /// format. `false` when `owner` no longer holds the lease, or when a delete of the object was
    /// claimed; then the index is not recorded.
    async fn finish(&self, result: FinishIndex) -> Result<bool, RepositoryError>;

    /// Releases the lease and makes the job due again at `due`; the attempt counts if `counts`.
    async fn postpone(
        &self,
        job: LeasedIndexJob,
        due: Timestamp,
        counts: bool,
    ) -> Result<(), RepositoryError>;

    /// The stored index of a build.
    async fn find(&self, elf_sha256: Sha256Digest) -> Result<Option<StoredIndex>, RepositoryError>;

    /// Makes the job of a build due again whose stored index is missing or different.
    async fn forget(
        &self,
        elf_sha256: Sha256Digest,
        index: StoredIndex,
        now: Timestamp,
    ) -> Result<(), RepositoryError>;
}

/// Which build to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimIndex {
    /// A new one for each claim.
    pub owner: LeaseOwner,
    /// The format which the indexer makes, from 1.
    pub format: u32,
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// A leased job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexJob {
    pub elf_sha256: Sha256Digest,
    /// Attempts, this one included.
    pub attempts: u32,
}

/// A leased job and the owner of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedIndexJob {
    pub elf_sha256: Sha256Digest,
    pub owner: LeaseOwner,
}

/// The outcome of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishIndex {
    pub job: LeasedIndexJob,
    /// The format of the index, also if it could not be made.
    pub format: u32,
    /// The stored object, or for people why there is no index.
    pub outcome: Result<ArtifactFacts, String>,
    pub now: Timestamp,
}

/// A stored index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredIndex {
    pub format: u32,
    pub facts: ArtifactFacts,
}

/// The state of the index of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IndexStatus {
    /// No attempt was made yet.
    #[default]
    None,
    /// An attempt is under way.
    Building,
    /// The index is stored.
    Ready,
    /// The index cannot be made, for this reason.
    Failed(String),
}
