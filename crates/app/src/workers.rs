//! The background workers of a server, a file each.

mod identity_provider;
mod parse_jobs;
mod publications;
mod queued_deletes;
mod replay;
mod sweep;
mod symbol_indexes;

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::Clock;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::wiring::Features;

/// At shutdown a worker has so long to end and give its leases back (contract §14.4).
const LEASE_RETURN_LIMIT: Duration = Duration::from_secs(1);

/// The background workers of a server.
pub struct Workers {
    features: Features,
    clock: Arc<dyn Clock>,
    /// Time between two sweeps.
    sweep_interval: Duration,
    /// Parse jobs which run at the same time.
    parsers: usize,
}

impl Workers {
    pub fn new(features: Features, clock: Arc<dyn Clock>, config: &Config) -> Self {
        let (sweep_interval, parsers) = (config.sweep.interval, config.coredumps.workers);
        Self { features, clock, sweep_interval, parsers }
    }

    /// Starts every worker; they end when `stop` is cancelled, those that parse when `stop_parsing`
    /// is, having given their jobs back.
    pub fn start(
        self,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        stop_parsing: &CancellationToken,
    ) {
        let workers = Arc::new(self);
        for _ in 0..workers.parsers {
            let (workers, stop) = (Arc::clone(&workers), stop_parsing.clone());
            // Unwrapping a hostile dump may take a second.
            on_own_thread(tasks, async move || workers.parse(&stop).await);
        }
        if let Some(indexes) = workers.features.symbol_indexes.clone() {
            let (workers, stop) = (Arc::clone(&workers), stop_parsing.clone());
            // It reads indexes by the store handle which blocks its caller.
            on_own_thread(tasks, async move || workers.build_indexes(&indexes, &stop).await);
        }
        let (queue, until) = (Arc::clone(&workers), stop.clone());
        // It counts jobs by the database handle which blocks its caller.
        on_own_thread(tasks, async move || {
            until.run_until_cancelled(queue.watch_queue()).await;
        });
        let (rescue, until) = (Arc::clone(&workers), stop.clone());
        // It receives dumps by the store handle which blocks its caller.
        on_own_thread(tasks, async move || {
            until.run_until_cancelled(rescue.replay()).await;
        });
        let (deletes, until) = (Arc::clone(&workers), stop.clone());
        tasks.spawn(async move {
            deletes.until_leases_are_back(&until, deletes.delete_queued(&until)).await;
        });
        let (firmware, until) = (Arc::clone(&workers), stop.clone());
        tasks.spawn(async move {
            firmware.until_leases_are_back(&until, firmware.finish_publications(&until)).await;
        });
        let keys = Arc::clone(&workers);
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { keys.keep_keys().await }));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { workers.sweep().await }));
    }

    /// Runs a worker that ends when `stop` is cancelled, and cuts off one that takes too long: what it
    /// asked of the store may still happen, so its leases run out by themselves.
    async fn until_leases_are_back(
        &self,
        stop: &CancellationToken,
        worker: impl Future<Output = ()>,
    ) {
        tokio::select! {
            () = worker => {}
            () = async { stop.cancelled().await; self.clock.sleep(LEASE_RETURN_LIMIT).await } => {}
        }
    }
}

/// Runs a worker which blocks its thread.
fn on_own_thread(tasks: &TaskTracker, worker: impl AsyncFnOnce() + Send + 'static) {
    let runtime = Handle::current();
    tasks.spawn_blocking(move || runtime.block_on(worker()));
}

fn warn(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{what}");
}
