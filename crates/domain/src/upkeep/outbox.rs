//! Rows of the outbox: objects to be deleted after the rows which referred to them were (I4).

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// Keeps queued deletes.
#[async_trait]
pub trait OutboxRepository: Send + Sync {
    /// Leases due deletes to `claim.owner`, oldest first. Never claims a key whose scope is under
    /// publication or to which a visible row refers (I5).
    async fn claim(&self, claim: ClaimDeletes) -> Result<Vec<QueuedDelete>, RepositoryError>;

    /// Removes entries whose objects are deleted, as far as `owner` still has their lease.
    async fn finish(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError>;

    /// Gives entries back to be tried again at `next_attempt_at`, counting the attempt, as far as
    /// `owner` still holds them.
    async fn retry(
        &self,
        owner: &LeaseOwner,
        ids: &[i64],
        next_attempt_at: Timestamp,
    ) -> Result<(), RepositoryError>;

    /// Counts an attempt whose delete may still reach the store, as far as `owner` still holds the
    /// entries. The lease stays: until it ends no publication writes or refers to their objects (I5).
    async fn leave(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError>;

    /// How many deletes wait, and since when the oldest does.
    async fn backlog(&self) -> Result<Backlog, RepositoryError>;
}

/// Which deletes to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimDeletes {
    /// Who claims; fresh for each claim.
    pub owner: LeaseOwner,
    /// The present.
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
    /// At most this many.
    pub limit: i64,
}

/// One delete to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedDelete {
    /// Row id.
    pub id: i64,
    /// The object to delete.
    pub key: ArtifactKey,
    /// Attempts before this one.
    pub attempts: u32,
}

/// The state of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Entries.
    pub pending: i64,
    /// When the oldest entry was queued.
    pub oldest: Option<Timestamp>,
}
