//! Work nobody waits for: queued deletes, interrupted publications, the sweep.
//!
//! Each task takes no input and looks at what there is to do, so that the happy case, the restart
//! and a second replica are one code path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::artifact::{ArtifactKey, UploadId};
use crate::artifact_store::{ArtifactStore, ArtifactStoreError};
use crate::clock::{Clock, Entropy};
use crate::repository::outbox::{Backlog, ClaimDeletes, QueuedDelete};
use crate::repository::{OutboxRepository, RepositoryError, SweepRepository};
use crate::sweep::SweepSettings;

/// How long a claimed delete may take before another worker takes over.
const DELETE_LEASE: Duration = Duration::from_mins(1);
const DELETE_BATCH: i64 = 500;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(5);

/// Tells a worker that there is something to do; a hint that may be lost.
pub trait Wakeup: Send + Sync {
    /// Wakes the worker.
    fn wake(&self);
}

/// What upkeep works with.
pub struct UpkeepPorts {
    /// Queued deletes.
    pub outbox: Arc<dyn OutboxRepository>,
    /// Tells garbage apart.
    pub sweep: Arc<dyn SweepRepository>,
    /// Where bytes lie.
    pub store: Arc<dyn ArtifactStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Told when deletes were queued.
    pub wakeup: Arc<dyn Wakeup>,
}

/// Upkeep of store and database.
#[derive(Clone)]
pub struct Upkeep {
    pub(crate) ports: Arc<UpkeepPorts>,
    pub(crate) settings: SweepSettings,
}

/// Why a task of upkeep stopped; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The database failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

/// What one round of deletes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteRound {
    /// Objects gone.
    pub deleted: usize,
    /// Objects to be tried again.
    pub failed: usize,
}

impl Upkeep {
    /// Builds the tasks over their ports.
    pub fn new(ports: UpkeepPorts, settings: SweepSettings) -> Self {
        Self { ports: Arc::new(ports), settings }
    }

    /// Deletes what the outbox holds due, one batch; call again while something was deleted.
    pub async fn delete_queued(&self) -> Result<DeleteRound, UpkeepError> {
        let owner = UploadId::random(&*self.ports.entropy);
        let now = self.ports.clock.now();
        let until = now.after(DELETE_LEASE);
        let claim = ClaimDeletes { owner: owner.clone(), now, until, limit: DELETE_BATCH };
        let claimed = self.ports.outbox.claim(claim).await?;
        if claimed.is_empty() {
            return Ok(DeleteRound::default());
        }
        let failed = self.delete_objects(&claimed).await;
        let done: Vec<i64> = claimed
            .iter()
            .filter(|entry| !failed.iter().any(|bad| bad.id == entry.id))
            .map(|entry| entry.id)
            .collect();
        self.ports.outbox.finish(&owner, &done).await?;
        self.put_back(&owner, &failed).await?;
        Ok(DeleteRound { deleted: done.len(), failed: failed.len() })
    }

    /// How many deletes wait, and since when.
    pub async fn backlog(&self) -> Result<Backlog, RepositoryError> {
        self.ports.outbox.backlog().await
    }

    /// All at once; if that fails one by one, so that a stubborn object holds up no other. Returns
    /// the entries whose objects may still be there.
    async fn delete_objects<'a>(&self, entries: &'a [QueuedDelete]) -> Vec<&'a QueuedDelete> {
        let keys: Vec<ArtifactKey> = entries.iter().map(|entry| entry.key.clone()).collect();
        if self.ports.store.delete(&keys).await.is_ok() {
            return Vec::new();
        }
        let mut failed = Vec::new();
        for entry in entries {
            if let Err(error) = self.ports.store.delete(std::slice::from_ref(&entry.key)).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, key = %entry.key, "delete will be tried again");
                failed.push(entry);
            }
        }
        failed
    }

    async fn put_back(
        &self,
        owner: &UploadId,
        failed: &[&QueuedDelete],
    ) -> Result<(), RepositoryError> {
        let mut by_attempts: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for entry in failed {
            by_attempts.entry(entry.attempts).or_default().push(entry.id);
        }
        for (attempts, ids) in by_attempts {
            let due = self.ports.clock.now().after(retry_delay(attempts));
            self.ports.outbox.retry(owner, &ids, due).await?;
        }
        Ok(())
    }
}

/// 1 s, doubling to 5 min (I4).
fn retry_delay(attempts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempts)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off_from_one_second_to_five_minutes() {
        let delays: Vec<u64> = [0, 1, 8, 9, 100].map(|n| retry_delay(n).as_secs()).into();
        assert_eq!(delays, [1, 2, 256, 300, 300]);
    }
}
