//! The tasks behind the server: queued deletes, interrupted publications, the sweep.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::firmware::Firmware;
use coredock_domain::sweep::{SweepMode, SweepReport, SweepVerdict};
use coredock_domain::timestamp::Timestamp;
use coredock_domain::{Clock, Upkeep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::system::WorkerWakeup;

/// The outbox is looked at this often even if nobody says that there is work.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(1);
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// What the workers work with.
pub struct Workers {
    /// Deletes and sweeps.
    pub upkeep: Upkeep,
    /// Interrupted publications.
    pub firmware: Firmware,
    /// Says that deletes were queued.
    pub wakeup: Arc<WorkerWakeup>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where results are counted.
    pub metrics: Metrics,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
}

impl Workers {
    /// Starts every worker; they end when `stop` is cancelled.
    pub fn start(self, tasks: &TaskTracker, stop: &CancellationToken) {
        let workers = Arc::new(self);
        let outbox = Arc::clone(&workers);
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { outbox.delete().await }));
        let settling = Arc::clone(&workers);
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { settling.settle().await }));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { workers.sweep().await }));
    }

    async fn delete(&self) {
        loop {
            match self.upkeep.delete_queued().await {
                Ok(round) if round.deleted > 0 => continue,
                Ok(_) => {}
                Err(error) => warn("queued deletes wait", &error),
            }
            self.note_backlog().await;
            tokio::select! {
                () = self.wakeup.woken() => {}
                () = self.clock.sleep(OUTBOX_INTERVAL) => {}
            }
        }
    }

    async fn note_backlog(&self) {
        let Ok(backlog) = self.upkeep.backlog().await else { return };
        self.metrics.outbox_pending.set(backlog.pending);
        let age = |since: Timestamp| self.clock.now().since(since).as_secs();
        let oldest = backlog.oldest.map_or(0, age);
        self.metrics.outbox_oldest_seconds.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }

    async fn settle(&self) {
        loop {
            match self.firmware.settle_interrupted().await {
                Ok(0) => {}
                Ok(settled) => tracing::info!(settled, "finished interrupted publications"),
                Err(error) => warn("interrupted publications wait", &error),
            }
            self.clock.sleep(SETTLE_INTERVAL).await;
        }
    }

    async fn sweep(&self) {
        match self.upkeep.sweep(SweepMode::DryRun).await {
            Ok(report) => self.count(&report),
            Err(error) => warn("the artifact store could not be measured", &error),
        }
        loop {
            self.clock.sleep(self.sweep_interval).await;
            match self.upkeep.sweep(SweepMode::Run).await {
                Ok(report) => {
                    log_sweep(&report);
                    self.count(&report);
                }
                Err(error) => warn("the sweep was put off", &error),
            }
        }
    }

    fn count(&self, report: &SweepReport) {
        for (prefix, removed) in &report.removed {
            let counter = self.metrics.sweep_removed.with_label_values(&[prefix.as_str()]);
            counter.inc_by(*removed as u64);
        }
        for (prefix, bytes) in &report.stored_bytes {
            let gauge = self.metrics.stored_bytes.with_label_values(&[prefix.as_str()]);
            gauge.set(i64::try_from(*bytes).unwrap_or(i64::MAX));
        }
        let removed = |kind: &str, count: usize| {
            self.metrics.retention_removed.with_label_values(&[kind]).inc_by(count as u64);
        };
        removed("firmware", report.retired.versions.len());
        removed("symbols", report.retired.symbols.len());
    }
}

/// The event `sweep_finished` (contract §14.3).
fn log_sweep(report: &SweepReport) {
    let removed: usize = report.removed.values().sum();
    tracing::info!(
        event = "sweep_finished",
        verdict = ?report.verdict,
        seen = report.seen,
        unknown = report.unknown,
        garbage = report.garbage_objects(),
        removed,
        versions_retired = report.retired.versions.len(),
        symbols_retired = report.retired.symbols.len(),
        "sweep finished"
    );
    match &report.verdict {
        SweepVerdict::Foreign { .. } => tracing::error!(
            "the artifact store was not made by this database; nothing is swept until \
             `coredock sweep --confirm`"
        ),
        SweepVerdict::TooMuch => tracing::error!(
            "the sweep would remove more than is plausible; look at `coredock sweep --dry-run`, \
             then run `coredock sweep --confirm`"
        ),
        SweepVerdict::Removed
        | SweepVerdict::DryRun
        | SweepVerdict::Adopted
        | SweepVerdict::FirstRun => {}
    }
}

fn warn(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{what}");
}
