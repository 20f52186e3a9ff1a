//! The port that shares the refresh of a browser session (contract §3.7).

use async_trait::async_trait;

use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// Lets all calls with the same refresh token share one grant, on all replicas: providers that
/// rotate refresh tokens revoke the session of one that is used twice. A refresh token is known by
/// its SHA-256 only.
#[async_trait]
pub trait RefreshRepository: Send + Sync {
    /// Takes the right to use a refresh token, in one transaction.
    async fn begin(&self, request: BeginRefresh) -> Result<RefreshStart, RepositoryError>;

    /// Stores the sealed result of the grant for the calls that come until `expires_at`; `false` if
    /// the owner has lost its lease.
    async fn finish(&self, refresh: FinishRefresh) -> Result<bool, RepositoryError>;

    /// Gives the right back after a grant without result; does nothing if the lease is lost.
    async fn abandon(
        &self,
        token: &Sha256Digest,
        owner: &LeaseOwner,
    ) -> Result<(), RepositoryError>;

    /// Deletes rows whose results and leases have expired, at most `limit`; returns their number.
    async fn delete_expired(&self, now: Timestamp, limit: i64) -> Result<usize, RepositoryError>;
}

/// A call that needs new tokens.
#[derive(Debug, Clone)]
pub struct BeginRefresh {
    pub token: Sha256Digest,
    pub owner: LeaseOwner,
    pub now: Timestamp,
    /// End of the lease, if the call gets it.
    pub until: Timestamp,
}

/// Who uses the refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshStart {
    /// The caller does: no other call holds a lease that has not ended, and no result is stored.
    Granted,
    /// Another call does, and has no result yet.
    InProgress,
    /// Another call did; this is its sealed result, which has not expired.
    Done(Vec<u8>),
}

/// The result of a grant.
#[derive(Debug, Clone)]
pub struct FinishRefresh {
    pub token: Sha256Digest,
    pub owner: LeaseOwner,
    /// Encrypted: it holds the new tokens.
    pub sealed: Vec<u8>,
    pub expires_at: Timestamp,
}
