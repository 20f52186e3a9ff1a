//! The count of dumps which retention has deleted since the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::DeviceKey;
use crate::wakeup::{Wakeup, Worker};

/// Counts the dumps which retention deletes, in intake and in symbolication. Clones share the
/// count.
#[derive(Debug, Clone, Default)]
pub struct PrunedCoredumps(Arc<AtomicU64>);

impl PrunedCoredumps {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts and logs the dumps which retention deleted, and wakes the worker of the outbox.
    pub(crate) fn note(&self, device: &DeviceKey, ids: &[i64], wakeup: &dyn Wakeup) {
        if ids.is_empty() {
            return;
        }
        self.0.fetch_add(ids.len() as u64, Ordering::Relaxed);
        tracing::info!(
            event = "coredump_retention_pruned",
            %device,
            pruned = ids.len(),
            ?ids,
            "retention deleted the oldest dumps of device {device}"
        );
        wakeup.wake(Worker::Outbox);
    }
}
