//! Deletes the objects which are queued in the outbox.

use std::time::Duration;

use coredock_domain::timestamp::Timestamp;
use coredock_domain::wakeup::Worker;
use tokio_util::sync::CancellationToken;

use super::{Workers, warn};

/// The outbox is read this often even without a wake-up.
const INTERVAL: Duration = Duration::from_secs(1);

impl Workers {
    pub(super) async fn delete_queued(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.features.upkeep.delete_queued().await {
                Ok(round) if round.deleted > 0 => continue,
                Ok(_) => {}
                Err(error) => warn(
                    "queued deletes of objects wait: database or artifact store unavailable",
                    &error,
                ),
            }
            self.show_backlog().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.features.wakeups.woken(Worker::Outbox) => {}
                () = self.clock.sleep(INTERVAL) => {}
            }
        }
    }

    async fn show_backlog(&self) {
        let Ok(backlog) = self.features.upkeep.backlog().await else { return };
        self.features.metrics.outbox_pending.set(backlog.pending);
        let age = |since: Timestamp| self.clock.now().since(since).as_secs();
        let oldest = backlog.oldest.map_or(0, age);
        self.features.metrics.outbox_oldest_seconds.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }
}
