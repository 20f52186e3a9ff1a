//! Rows of the outbox: queued deletes of objects whose rows were deleted before (I4).

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// Rows of queued deletes.
#[async_trait]
pub trait OutboxRepository: Send + Sync {
    /// Leases due deletes to `claim.owner`, oldest first. Does not claim a key whose scope is under
    /// publication or to which a visible row refers (I5).
    async fn claim(&self, claim: ClaimDeletes) -> Result<Vec<QueuedDelete>, RepositoryError>;

    /// Removes entries whose objects are deleted, if `owner` still holds their leases.
    async fn finish(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError>;

    /// Counts an attempt, releases the leases and makes the entries due at `next_attempt_at`, if
    /// `owner` still holds their leases.
    async fn retry(
        &self,
        owner: &LeaseOwner,
        ids: &[i64],
        next_attempt_at: Timestamp,
    ) -> Result<(), RepositoryError>;

    /// Counts an attempt whose deletes may still happen, if `owner` still holds the leases. The
    /// leases are not released: until they end no publication writes or refers to the objects (I5).
    async fn leave(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError>;

    /// How many deletes are queued, and since when the oldest is.
    async fn backlog(&self) -> Result<Backlog, RepositoryError>;
}

/// Which deletes to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimDeletes {
    /// A new one for each claim.
    pub owner: LeaseOwner,
    pub now: Timestamp,
    /// When the leases end by themselves.
    pub until: Timestamp,
    /// Maximum number of deletes.
    pub limit: i64,
}

/// One delete to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedDelete {
    pub id: i64,
    pub key: ArtifactKey,
    /// Attempts before this one.
    pub attempts: u32,
}

/// The queued deletes of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    pub pending: i64,
    /// When the oldest entry was queued.
    pub oldest: Option<Timestamp>,
}
