//! What the sweep asks the database (I6).

use std::time::Duration;

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::ids::ModelCode;
use crate::ids::VersionText;
use crate::timestamp::Timestamp;

/// Tells garbage from what rows refer to.
#[async_trait]
pub trait SweepRepository: Send + Sync {
    /// Those of `keys` to which no visible row refers, whose scope is not under publication and
    /// which are not queued for deletion already.
    async fn unreferenced(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<Vec<ArtifactKey>, RepositoryError>;

    /// Queues the deletes of those of `keys` that are unreferenced at this moment; returns how many.
    async fn queue_garbage(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<u64, RepositoryError>;

    /// Applies the retention of versions to every model, and that of symbols (contract §5.10),
    /// queueing the deletes of their objects.
    async fn apply_retention(&self, rules: RetentionRules) -> Result<Retired, RepositoryError>;

    /// Takes or extends the lease of the process that sweeps, until `until`; `false` when another
    /// one holds it.
    async fn hold(
        &self,
        owner: &LeaseOwner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Gives that lease back; without effect when `owner` does not hold it.
    async fn release(&self, owner: &LeaseOwner) -> Result<(), RepositoryError>;

    /// What is known of this database and its store.
    async fn ownership(&self) -> Result<StoreOwnership, RepositoryError>;

    /// Notes that the sweep is armed for the store of this mark.
    async fn arm(&self, epoch: u64, now: Timestamp) -> Result<(), RepositoryError>;
}

/// What retention keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionRules {
    /// The present.
    pub now: Timestamp,
    /// Versions of a model (`MAX_FIRMWARES`).
    pub kept_versions: u32,
    /// How long symbols outlive their last version (`SYMBOLS_KEEP_DAYS`).
    pub symbols_kept: Duration,
}

/// What retention took away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    /// Versions.
    pub versions: Vec<(ModelCode, VersionText)>,
    /// Builds whose symbols went.
    pub symbols: Vec<Sha256Digest>,
}

/// The identity of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOwnership {
    /// Made once, with the database.
    pub installation_id: String,
    /// Counts sweeps that were armed; compared with the mark in the store, so that a database or
    /// store brought back from a backup is noticed. 0: never armed.
    pub epoch: u64,
}
