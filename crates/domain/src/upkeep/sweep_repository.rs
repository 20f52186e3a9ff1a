//! The port to the rows which the sweep reads and writes (I6).

use std::time::Duration;

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::ids::ModelCode;
use crate::ids::VersionText;
use crate::timestamp::Timestamp;

/// Finds out which objects are garbage.
#[async_trait]
pub trait SweepRepository: Send + Sync {
    /// The keys to which no visible row refers, whose scope is not under publication and whose
    /// deletion is not queued already.
    async fn unreferenced(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<Vec<ArtifactKey>, RepositoryError>;

    /// Queues the deletes of the keys which are still unreferenced; returns how many.
    async fn queue_garbage(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<u64, RepositoryError>;

    /// Applies the retention of versions to every model, and the retention of symbol files
    /// (contract §5.10), and queues the deletes of their objects.
    async fn apply_retention(&self, rules: RetentionRules) -> Result<Retired, RepositoryError>;

    /// Takes the lease of the sweep or renews it, until `until`; `false` when another owner holds
    /// it.
    async fn hold(
        &self,
        owner: &LeaseOwner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Releases the lease of the sweep; no effect when `owner` does not hold it.
    async fn release(&self, owner: &LeaseOwner) -> Result<(), RepositoryError>;

    async fn ownership(&self) -> Result<StoreOwnership, RepositoryError>;

    /// Stores the epoch of the mark that is about to be written.
    async fn arm(&self, epoch: u64, now: Timestamp) -> Result<(), RepositoryError>;
}

/// What retention keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionRules {
    pub now: Timestamp,
    /// Number of versions of a model (`MAX_FIRMWARES`).
    pub max_versions: u32,
    /// Symbol files are kept for this time after their last version (`SYMBOLS_KEEP_DAYS`).
    pub symbol_retention: Duration,
}

/// What retention deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    pub versions: Vec<(ModelCode, VersionText)>,
    /// Builds whose symbol files were deleted.
    pub symbols: Vec<Sha256Digest>,
}

/// Which installation a database belongs to, for the comparison with the owner mark of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOwnership {
    /// Generated once, with the database.
    pub installation_id: String,
    /// Rises with each armed sweep; 0 when the sweep was never armed. It differs from the epoch of
    /// the mark if database or store were restored from a backup.
    pub epoch: u64,
}
