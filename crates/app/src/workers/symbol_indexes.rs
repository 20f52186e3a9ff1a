//! Builds missing symbol indexes, one by one.

use std::time::Duration;

use coredock_domain::SymbolIndexes;
use coredock_domain::wakeup::Worker;
use tokio_util::sync::CancellationToken;

use super::{Workers, warn};

/// A missing index is looked for this often even without a wake-up.
const INTERVAL: Duration = Duration::from_secs(5);

impl Workers {
    pub(super) async fn build_indexes(&self, indexes: &SymbolIndexes, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match indexes.index_next(stop.cancelled()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    warn("symbol indexes are not built: the database is unavailable", &error);
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.features.wakeups.woken(Worker::Indexing) => {}
                () = self.clock.sleep(INTERVAL) => {}
            }
        }
    }
}
