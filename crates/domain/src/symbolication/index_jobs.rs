//! Rows of symbol indexes: one for each build that is held, and a queue of those without an index
//! (contract §5.6, §8.2).

use async_trait::async_trait;

use crate::artifacts::store::ArtifactFacts;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// Keeps what is known of indexes. A publication makes the row of its build, and has an index that
/// failed tried again; the row goes with the symbols of the build.
#[async_trait]
pub trait SymbolIndexRepository: Send + Sync {
    /// Leases the build that has been without an index of this format, or a later one, for longest,
    /// and counts the attempt. `None` when nothing is due.
    async fn claim(&self, claim: ClaimIndex) -> Result<Option<IndexJob>, RepositoryError>;

    /// Writes what came of a job, gives the lease back and queues the delete of an index of another
    /// format. `false` when `owner` no longer holds the job, or a delete of the object has begun; then
    /// the index is not held.
    async fn finish(&self, result: FinishIndex) -> Result<bool, RepositoryError>;

    /// Gives the lease back and makes the job due again at `due`; the attempt counts if `counts`.
    async fn postpone(
        &self,
        job: LeasedIndexJob,
        due: Timestamp,
        counts: bool,
    ) -> Result<(), RepositoryError>;

    /// The index that is held of a build.
    async fn find(&self, elf_sha256: Sha256Digest) -> Result<Option<StoredIndex>, RepositoryError>;

    /// Has an index made anew whose object is not what its row says.
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
    /// Fresh for each claim.
    pub owner: LeaseOwner,
    /// The format that would be made, from 1.
    pub format: u32,
    /// The present.
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// A leased job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexJob {
    /// The build.
    pub elf_sha256: Sha256Digest,
    /// Attempts, this one included.
    pub attempts: u32,
}

/// A leased job and the holder of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedIndexJob {
    /// The build.
    pub elf_sha256: Sha256Digest,
    /// Holder of the lease.
    pub owner: LeaseOwner,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishIndex {
    /// The job.
    pub job: LeasedIndexJob,
    /// The format that was made, or tried.
    pub format: u32,
    /// The stored object, or why there is none; for people.
    pub outcome: Result<ArtifactFacts, String>,
    /// The present.
    pub now: Timestamp,
}

/// An index that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredIndex {
    /// Its format.
    pub format: u32,
    /// Its object.
    pub facts: ArtifactFacts,
}

/// The index of a build, as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IndexStatus {
    /// None was made yet.
    #[default]
    None,
    /// It is being made.
    Building,
    /// It is held.
    Ready,
    /// It cannot be made, for this reason.
    Failed(String),
}
