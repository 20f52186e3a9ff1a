//! The background workers: symbol indexes, parse jobs, replay of rescued dumps, queued deletes,
//! interrupted publications, the sweep.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::symbolication::worker::{ParseResult, Symbolicated};
use coredock_domain::timestamp::Timestamp;
use coredock_domain::upkeep::sweep::{SweepMode, SweepReport, SweepVerdict};
use coredock_domain::wakeup::{Wakeup, Worker};
use coredock_domain::{Clock, SymbolIndexes};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::wiring::Features;

/// The outbox is read this often even without a wake-up.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(1);
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// A parse worker looks for due jobs this often even without a wake-up.
const PARSE_INTERVAL: Duration = Duration::from_secs(1);
/// The first replay after a dump was rescued; the wait doubles from then on.
const SHORTEST_RESCUE_WAIT: Duration = Duration::from_secs(1);
const LONGEST_RESCUE_WAIT: Duration = Duration::from_secs(15);
/// A missing index is looked for this often even without a wake-up.
const INDEX_INTERVAL: Duration = Duration::from_secs(5);
const QUEUE_INTERVAL: Duration = Duration::from_secs(10);
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
            let (parser, stop) = (Arc::clone(&workers), stop_parsing.clone());
            let runtime = Handle::current();
            // Threads of their own: unwrapping a hostile dump may take a second.
            tasks.spawn_blocking(move || runtime.block_on(parser.parse(&stop)));
        }
        if let Some(indexes) = workers.features.symbol_indexes.clone() {
            let (indexing, stop) = (Arc::clone(&workers), stop_parsing.clone());
            let runtime = Handle::current();
            // A thread of its own: stored indexes are read by the handle which blocks its caller.
            tasks.spawn_blocking(move || runtime.block_on(indexing.index(&indexes, &stop)));
        }
        let queue = Arc::clone(&workers);
        let (until, runtime) = (stop.clone(), Handle::current());
        // A thread of its own: it counts jobs by the database handle which blocks its caller.
        tasks.spawn_blocking(move || runtime.block_on(until.run_until_cancelled(queue.watch())));
        let (rescue, until) = (Arc::clone(&workers), stop.clone());
        let runtime = Handle::current();
        // A thread of its own: it receives dumps by the store handle which blocks its caller.
        tasks.spawn_blocking(move || runtime.block_on(until.run_until_cancelled(rescue.replay())));
        let (outbox, until) = (Arc::clone(&workers), stop.clone());
        tasks.spawn(
            async move { outbox.until_leases_are_back(&until, outbox.delete(&until)).await },
        );
        let (settling, until) = (Arc::clone(&workers), stop.clone());
        tasks.spawn(async move {
            settling.until_leases_are_back(&until, settling.settle(&until)).await;
        });
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

    /// Makes missing indexes one by one.
    async fn index(&self, indexes: &SymbolIndexes, stop: &CancellationToken) {
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
                () = self.clock.sleep(INDEX_INTERVAL) => {}
            }
        }
    }

    /// Works on parse jobs.
    async fn parse(&self, stop: &CancellationToken) {
        let Some(symbolizer) = self.features.symbolication.symbolizer() else { return };
        while !stop.is_cancelled() {
            match self.features.symbolication.symbolicate_due(stop.cancelled()).await {
                Ok(parsed) if parsed.is_empty() => {
                    let _ = stop
                        .run_until_cancelled(self.features.wakeups.woken(Worker::Parsing))
                        .await;
                }
                Ok(parsed) => {
                    for parsed in parsed {
                        self.count_parse(symbolizer.engine(), &parsed);
                    }
                }
                Err(error) => {
                    warn(
                        "no parse job is claimed or finished: the database is unavailable",
                        &error,
                    );
                    let _ = stop.run_until_cancelled(self.clock.sleep(PARSE_INTERVAL)).await;
                }
            }
        }
    }

    fn count_parse(&self, engine: &str, parsed: &Symbolicated) {
        let seconds = parsed.took.as_secs_f64();
        let (metrics, result) = (&self.features.metrics, result_label(parsed.result));
        metrics.symbolications.with_label_values(&[engine, result]).inc();
        metrics.symbolication_seconds.with_label_values(&[engine]).observe(seconds);
        if matches!(parsed.result, ParseResult::Parsed | ParseResult::Error(_)) {
            let succeeded = parsed.result == ParseResult::Parsed;
            metrics.operation("coredump_parse", succeeded, seconds);
            metrics.symbolication_matches.with_label_values(&[parsed.elf_match]).inc();
        }
        metrics
            .invariant_violations
            .with_label_values(&["object_missing"])
            .inc_by(parsed.broken_objects);
        if let Some(container) = parsed.salvaged {
            metrics.symbolication_salvaged.with_label_values(&[container]).inc();
        }
    }

    /// Wakes a parse worker for jobs which became due by themselves, and counts the queue for metrics.
    async fn watch(&self) {
        let looks = (QUEUE_INTERVAL.as_secs() / PARSE_INTERVAL.as_secs()).max(1);
        loop {
            match self.features.symbolication.queue().await {
                Ok(queue) => {
                    let age = |since| self.clock.now().since(since);
                    let oldest_ready = queue.oldest_ready.map(age).unwrap_or_default();
                    self.features.metrics.show_queue(&queue, oldest_ready);
                }
                Err(error) => warn(
                    "the parse queue could not be counted; its metrics keep their last values",
                    &error,
                ),
            }
            for _ in 0..looks {
                self.clock.sleep(PARSE_INTERVAL).await;
                self.features.wakeups.wake(Worker::Parsing);
            }
        }
    }

    /// Replays rescued dumps as soon as store and database work again. Also looks without a wake-up:
    /// processes which share the directory leave theirs when they die.
    async fn replay(&self) {
        let mut wait = SHORTEST_RESCUE_WAIT;
        loop {
            let waiting = match self.features.intake.replay().await {
                Ok(round) => {
                    self.features
                        .metrics
                        .rescue_pending
                        .set(i64::try_from(round.waiting).unwrap_or(i64::MAX));
                    if round.replayed > 0 {
                        wait = SHORTEST_RESCUE_WAIT;
                    }
                    round.waiting > 0
                }
                Err(error) => {
                    warn("the rescue spool could not be listed; its dumps wait", &error);
                    true
                }
            };
            if waiting {
                self.clock.sleep(wait).await;
                wait = LONGEST_RESCUE_WAIT.min(wait * 2);
                continue;
            }
            wait = SHORTEST_RESCUE_WAIT;
            tokio::select! {
                // What has just failed is not tried again at once.
                () = self.features.wakeups.woken(Worker::Replay) => self.clock.sleep(wait).await,
                () = self.clock.sleep(LONGEST_RESCUE_WAIT) => {}
            }
        }
    }

    async fn delete(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.features.upkeep.delete_queued().await {
                Ok(round) if round.deleted > 0 => continue,
                Ok(_) => {}
                Err(error) => warn(
                    "queued deletes of objects wait: database or artifact store unavailable",
                    &error,
                ),
            }
            self.note_backlog().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.features.wakeups.woken(Worker::Outbox) => {}
                () = self.clock.sleep(OUTBOX_INTERVAL) => {}
            }
        }
    }

    async fn note_backlog(&self) {
        let Ok(backlog) = self.features.upkeep.backlog().await else { return };
        self.features.metrics.outbox_pending.set(backlog.pending);
        let age = |since: Timestamp| self.clock.now().since(since).as_secs();
        let oldest = backlog.oldest.map_or(0, age);
        self.features.metrics.outbox_oldest_seconds.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }

    async fn settle(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.features.firmware.settle_interrupted().await {
                Ok(0) => {}
                Ok(settled) => {
                    tracing::info!(settled, "{settled} interrupted publications were finished");
                }
                Err(error) => warn(
                    "interrupted publications are not finished yet: database or artifact store unavailable",
                    &error,
                ),
            }
            let _ = stop.run_until_cancelled(self.clock.sleep(SETTLE_INTERVAL)).await;
        }
    }

    async fn sweep(&self) {
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

const fn result_label(result: ParseResult) -> &'static str {
    match result {
        ParseResult::Parsed => "parsed",
        ParseResult::Error(_) => "error",
        ParseResult::Retried => "retried",
        ParseResult::PutBack => "put_back",
        ParseResult::Dropped => "dropped",
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
        | SweepVerdict::Busy
        | SweepVerdict::FirstRun => {}
    }
}

fn warn(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{what}");
}
