//! Work for which no request waits: queued deletes and the sweep.
//!
//! Each task takes no input and looks for work itself, so that a first run, a run after a restart
//! and a second replica are the same code path.

pub mod outbox;
pub mod sweep;
pub mod sweep_repository;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactStore, ArtifactStoreError};
use crate::clock::{Clock, Entropy};
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;
use crate::upkeep::outbox::OutboxRepository;
use crate::upkeep::outbox::{Backlog, ClaimDeletes, QueuedDelete};
use crate::upkeep::sweep::SweepSettings;
use crate::upkeep::sweep_repository::SweepRepository;
use crate::wakeup::Wakeup;

/// How long a claimed delete may take before another worker claims it, and before a publication
/// writes its object again.
const DELETE_LEASE: Duration = Duration::from_mins(1);
/// No delete begins later than this within the lease, because it could outlive the lease.
const LAST_START: Duration = Duration::from_secs(20);
const DELETE_BATCH: i64 = 500;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(5);

pub struct UpkeepPorts {
    pub outbox: Arc<dyn OutboxRepository>,
    pub sweep: Arc<dyn SweepRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The background tasks which keep store and database consistent.
#[derive(Clone)]
pub struct Upkeep {
    pub(crate) ports: Arc<UpkeepPorts>,
    pub(crate) settings: SweepSettings,
}

/// Why a task stopped; the worker runs it again later.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

/// What one batch of deletes did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteRound {
    pub deleted: usize,
    /// Objects whose deletion will be retried.
    pub failed: usize,
}

impl Upkeep {
    pub fn new(ports: UpkeepPorts, settings: SweepSettings) -> Self {
        Self { ports: Arc::new(ports), settings }
    }

    /// Carries out one batch of the due deletes of the outbox. Call again while objects are
    /// deleted.
    pub async fn delete_queued(&self) -> Result<DeleteRound, UpkeepError> {
        let owner = LeaseOwner::random(&*self.ports.entropy);
        let now = self.ports.clock.now();
        let until = now.after(DELETE_LEASE);
        let claim = ClaimDeletes { owner: owner.clone(), now, until, limit: DELETE_BATCH };
        let claimed = self.ports.outbox.claim(claim).await?;
        if claimed.is_empty() {
            return Ok(DeleteRound::default());
        }
        let outcome = self.delete_objects(claimed, now.after(LAST_START)).await;
        let round = DeleteRound {
            deleted: outcome.deleted.len(),
            failed: outcome.failed.len() + outcome.unknown.len(),
        };
        self.ports.outbox.finish(&owner, &outcome.deleted).await?;
        self.ports.outbox.leave(&owner, &outcome.unknown).await?;
        self.retry_later(&owner, &outcome.failed).await?;
        Ok(round)
    }

    /// How many deletes are queued, and since when the oldest is.
    pub async fn backlog(&self) -> Result<Backlog, RepositoryError> {
        self.ports.outbox.backlog().await
    }

    /// First attempts all together, retries one by one, so that an object which cannot be deleted
    /// does not delay others. No retry begins after `last_start`.
    async fn delete_objects(&self, entries: Vec<QueuedDelete>, last_start: Timestamp) -> Outcome {
        let (first, again): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.attempts == 0);
        let mut outcome = Outcome::default();
        self.delete_together(first, &mut outcome).await;
        for entry in again {
            if self.ports.clock.now() > last_start {
                outcome.failed.push(entry);
            } else {
                self.delete_together(vec![entry], &mut outcome).await;
            }
        }
        outcome
    }

    async fn delete_together(&self, entries: Vec<QueuedDelete>, outcome: &mut Outcome) {
        let keys: Vec<ArtifactKey> = entries.iter().map(|entry| entry.key.clone()).collect();
        let Some(key) = keys.first() else { return };
        let ids = entries.iter().map(|entry| entry.id);
        match self.ports.store.delete(&keys).await {
            Ok(()) => outcome.deleted.extend(ids),
            Err(error) => {
                let may_still_happen = error.is_open();
                let error = &error as &dyn std::error::Error;
                let count = keys.len();
                tracing::warn!(error, %key, count, "could not delete {count} objects of the artifact store, the first of them {key}; the delete is retried");
                if may_still_happen {
                    outcome.unknown.extend(ids);
                } else {
                    outcome.failed.extend(entries);
                }
            }
        }
    }

    async fn retry_later(
        &self,
        owner: &LeaseOwner,
        entries: &[QueuedDelete],
    ) -> Result<(), RepositoryError> {
        let mut by_attempts: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for entry in entries {
            by_attempts.entry(entry.attempts).or_default().push(entry.id);
        }
        for (attempts, ids) in by_attempts {
            let due = self.ports.clock.now().after(retry_delay(attempts));
            self.ports.outbox.retry(owner, &ids, due).await?;
        }
        Ok(())
    }
}

/// The outcome of claimed deletes.
#[derive(Default)]
struct Outcome {
    /// Rows whose objects are deleted.
    deleted: Vec<i64>,
    /// Rows whose deletes have ended without success.
    failed: Vec<QueuedDelete>,
    /// Rows whose deletes may still happen, because the store did not answer.
    unknown: Vec<i64>,
}

/// The back-off: 1 s, doubled with each attempt, at most 5 min (I4).
fn retry_delay(attempts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempts)).min(MAX_RETRY)
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
