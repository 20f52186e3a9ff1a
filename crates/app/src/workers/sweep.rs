//! Runs the sweep, and shows its results in the log and in metrics.

use coredock_domain::upkeep::sweep::{SweepMode, SweepReport, SweepVerdict};

use super::{Workers, warn};

impl Workers {
    pub(super) async fn sweep(&self) {
        match self.features.upkeep.sweep(SweepMode::DryRun).await {
            Ok(report) => self.count(&report),
            Err(error) => warn(
                "the artifact store could not be listed; the metrics of stored bytes stay empty",
                &error,
            ),
        }
        loop {
            self.clock.sleep(self.sweep_interval).await;
            match self.features.upkeep.sweep(SweepMode::Run).await {
                Ok(report) => {
                    log_sweep(&report);
                    self.count(&report);
                }
                Err(error) => {
                    warn(
                        "the sweep failed; the next one runs after SWEEP_INTERVAL_SECONDS",
                        &error,
                    );
                }
            }
        }
    }

    fn count(&self, report: &SweepReport) {
        for (prefix, removed) in &report.removed {
            let counter = self.features.metrics.sweep_removed.with_label_values(&[prefix.as_str()]);
            counter.inc_by(*removed as u64);
        }
        for (prefix, bytes) in &report.stored_bytes {
            let gauge = self.features.metrics.stored_bytes.with_label_values(&[prefix.as_str()]);
            gauge.set(i64::try_from(*bytes).unwrap_or(i64::MAX));
        }
        let removed = |kind: &str, count: usize| {
            self.features.metrics.retention_removed.with_label_values(&[kind]).inc_by(count as u64);
        };
        removed("firmware", report.retired.versions.len());
        removed("symbols", report.retired.symbols.len());
    }
}

/// The event `sweep_finished` (contract §14.3), and an error if an operator must decide.
fn log_sweep(report: &SweepReport) {
    let removed: usize = report.removed.values().sum();
    let (seen, garbage) = (report.seen, report.garbage_objects());
    tracing::info!(
        event = "sweep_finished",
        verdict = ?report.verdict,
        seen,
        unknown = report.unknown,
        garbage,
        removed,
        versions_retired = report.retired.versions.len(),
        symbols_retired = report.retired.symbols.len(),
        "sweep of the artifact store finished: {seen} objects seen, {garbage} of them garbage, \
         {removed} queued for deletion"
    );
    match &report.verdict {
        SweepVerdict::Foreign { owner } => tracing::error!(
            owner,
            "the sweep deletes nothing, because the artifact store belongs to another database or \
             was filled by hand; if it belongs to this one, run `coredock sweep --confirm`"
        ),
        SweepVerdict::TooMuch => tracing::error!(
            garbage,
            "the sweep deletes nothing, because {garbage} garbage objects are more than is \
             plausible; look at `coredock sweep --dry-run`, then run `coredock sweep --confirm`"
        ),
        SweepVerdict::Removed
        | SweepVerdict::DryRun
        | SweepVerdict::Adopted
        | SweepVerdict::Busy
        | SweepVerdict::FirstRun => {}
    }
}
