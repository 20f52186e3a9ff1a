//! Parses dumps: claims due jobs, and counts their results and the queue.

use std::time::Duration;

use coredock_domain::symbolication::worker::{ParseResult, Symbolicated};
use coredock_domain::wakeup::{Wakeup, Worker};
use tokio_util::sync::CancellationToken;

use super::{Workers, warn};

/// A parse worker looks for due jobs this often even without a wake-up.
const INTERVAL: Duration = Duration::from_secs(1);
/// The metrics of the queue are renewed this often.
const QUEUE_INTERVAL: Duration = Duration::from_secs(10);

impl Workers {
    pub(super) async fn parse(&self, stop: &CancellationToken) {
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
                    let _ = stop.run_until_cancelled(self.clock.sleep(INTERVAL)).await;
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
    pub(super) async fn watch_queue(&self) {
        let looks = (QUEUE_INTERVAL.as_secs() / INTERVAL.as_secs()).max(1);
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
                self.clock.sleep(INTERVAL).await;
                self.features.wakeups.wake(Worker::Parsing);
            }
        }
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
