//! All metrics (contract §14.2).
//!
//! No label contains a device key, an id, a version text or a URL; `route` is the pattern.

mod declare;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coredock_domain::artifacts::verified_reads::ResumeCounts;
use coredock_domain::coredumps::coredump::ParseStatus;
use coredock_domain::symbolication::jobs::QueueState;
use coredock_repository::Database;
use coredock_symbolizer_native::IndexOutcome;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use self::declare::Declare;

/// All metrics of the process; [`Metrics::new`] describes each of them. Clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub operations: IntCounterVec,
    pub operation_seconds: HistogramVec,
    pub http_requests: IntCounterVec,
    pub http_seconds: HistogramVec,
    pub http_in_flight: IntGaugeVec,
    pub auth_validations: IntCounterVec,
    pub auth_seconds: HistogramVec,
    pub jwks_refreshes: IntCounterVec,
    pub oidc_token_exchanges: IntCounterVec,
    pub auth_token_refreshes: IntCounterVec,
    pub downloads: IntCounterVec,
    pub download_bytes: IntCounterVec,
    pub downloads_active: IntGaugeVec,
    pub download_resumes: IntCounterVec,
    pub firmware_uploads: IntCounterVec,
    pub firmware_upload_bytes: IntCounter,
    pub coredump_ingest: IntCounterVec,
    pub coredump_ingest_bytes: IntCounter,
    pub coredump_ingest_seconds: Histogram,
    pub rescue_pending: IntGauge,
    pub coredumps: IntGaugeVec,
    pub parse_jobs: IntGaugeVec,
    pub parse_oldest_ready_seconds: IntGauge,
    pub symbolications: IntCounterVec,
    pub symbolication_seconds: HistogramVec,
    pub symbolication_matches: IntCounterVec,
    pub symbolication_salvaged: IntCounterVec,
    pub symbol_indexes: IntCounterVec,
    pub storage_operations: IntCounterVec,
    pub storage_seconds: HistogramVec,
    pub storage_bytes: IntCounterVec,
    pub stored_bytes: IntGaugeVec,
    pub outbox_pending: IntGauge,
    pub outbox_oldest_seconds: IntGauge,
    pub sweep_removed: IntCounterVec,
    pub invariant_violations: IntCounterVec,
    pub retention_removed: IntCounterVec,
    pub retention_protected: IntCounterVec,
    pub db_errors: IntCounterVec,
    pub db_connections: IntGaugeVec,
    pub shutting_down: IntGauge,
    pub shutdown_seconds: HistogramVec,
}

impl Metrics {
    /// Declares the metrics in the order of the fields; fails only if two metrics share a name.
    #[expect(clippy::too_many_lines, reason = "a list of declarations, nothing to split")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let declare = Declare(&registry);
        let metrics = Self {
            operations: declare.counters(
                "iot_config_operations_total",
                "Operations by name and status",
                &["operation", "status"],
            )?,
            operation_seconds: declare.histograms(
                "iot_config_operation_duration_seconds",
                "Duration of operations",
                &["operation"],
            )?,
            http_requests: declare.counters(
                "coredock_http_requests_total",
                "Requests by method, route pattern and status",
                &["method", "route", "status"],
            )?,
            http_seconds: declare.histograms(
                "coredock_http_request_duration_seconds",
                "Time to the first byte of the answer",
                &["method", "route"],
            )?,
            http_in_flight: declare.gauges(
                "coredock_http_requests_in_flight",
                "Requests being handled, by class of caller",
                &["class"],
            )?,
            auth_validations: declare.counters(
                "auth_validation_total",
                "Tokens by the result of their check",
                &["status"],
            )?,
            auth_seconds: declare.histograms(
                "auth_validation_duration_seconds",
                "Duration of the check of a token",
                &[],
            )?,
            jwks_refreshes: declare.counters(
                "jwks_refresh_total",
                "Fetches of the keys of the identity provider by trigger and result",
                &["trigger", "status"],
            )?,
            oidc_token_exchanges: declare.counters(
                "oidc_token_exchange_total",
                "Codes of sign-ins exchanged for tokens by result",
                &["status"],
            )?,
            auth_token_refreshes: declare.counters(
                "auth_token_refresh_total",
                "Refreshes of browser sessions by result",
                &["status"],
            )?,
            downloads: declare.counters(
                "coredock_downloads_total",
                "Downloads by kind and outcome",
                &["kind", "outcome"],
            )?,
            download_bytes: declare.counters(
                "coredock_download_bytes_total",
                "Bytes sent by downloads",
                &["kind"],
            )?,
            downloads_active: declare.gauges(
                "coredock_downloads_active",
                "Downloads in progress",
                &["kind"],
            )?,
            download_resumes: declare.counters(
                "coredock_download_resumes_total",
                "Interrupted store reads, by whether they were resumed",
                &["result"],
            )?,
            firmware_uploads: declare.counters(
                "coredock_firmware_uploads_total",
                "Firmware bundles by result",
                &["result"],
            )?,
            firmware_upload_bytes: declare
                .counter("coredock_firmware_upload_bytes_total", "Bytes of bundles received")?,
            coredump_ingest: declare.counters(
                "coredock_coredump_ingest_total",
                "Received dumps by result",
                &["result"],
            )?,
            coredump_ingest_bytes: declare
                .counter("coredock_coredump_ingest_bytes_total", "Bytes of dumps received")?,
            coredump_ingest_seconds: declare.histogram(
                "coredock_coredump_ingest_duration_seconds",
                "Time from the end of a dump's body to its answer",
            )?,
            rescue_pending: declare
                .gauge("coredock_rescue_pending", "Dumps in the rescue spool")?,
            coredumps: declare.gauges("coredock_coredumps", "Dumps by status", &["status"])?,
            parse_jobs: declare.gauges("coredock_parse_jobs", "Parse jobs by state", &["state"])?,
            parse_oldest_ready_seconds: declare.gauge(
                "coredock_parse_oldest_ready_seconds",
                "Age of the oldest parse job that can be claimed",
            )?,
            symbolications: declare.counters(
                "coredock_symbolication_total",
                "Attempts to parse a dump, by engine and result",
                &["engine", "result"],
            )?,
            symbolication_seconds: declare.histograms(
                "coredock_symbolication_duration_seconds",
                "Duration of attempts to parse a dump",
                &["engine"],
            )?,
            symbolication_matches: declare.counters(
                "coredock_symbolication_match_total",
                "How the ELF of a dump was chosen",
                &["match"],
            )?,
            symbolication_salvaged: declare.counters(
                "coredock_symbolication_salvaged_total",
                "Dumps with a damaged container that was repaired",
                &["container"],
            )?,
            symbol_indexes: declare.counters(
                "coredock_symbol_indexes_total",
                "Requested indexes of ELFs, by result",
                &["result"],
            )?,
            storage_operations: declare.counters(
                "coredock_storage_operations_total",
                "Store calls by operation and status",
                &["backend", "operation", "status"],
            )?,
            storage_seconds: declare.histograms(
                "coredock_storage_operation_duration_seconds",
                "Duration of store calls",
                &["backend", "operation"],
            )?,
            storage_bytes: declare.counters(
                "coredock_storage_bytes_total",
                "Bytes read from and written to the store",
                &["backend", "direction"],
            )?,
            stored_bytes: declare.gauges(
                "coredock_stored_bytes",
                "Bytes in the artifact store at the last sweep, by prefix",
                &["kind"],
            )?,
            outbox_pending: declare
                .gauge("coredock_outbox_pending", "Queued deletes of objects")?,
            outbox_oldest_seconds: declare
                .gauge("coredock_outbox_oldest_seconds", "Age of the oldest queued delete")?,
            sweep_removed: declare.counters(
                "coredock_sweep_removed_total",
                "Garbage objects removed by the sweep",
                &["kind"],
            )?,
            invariant_violations: declare.counters(
                "coredock_invariant_violations_total",
                "Violations of invariants",
                &["kind"],
            )?,
            retention_removed: declare.counters(
                "coredock_retention_removed_total",
                "Records removed by retention",
                &["kind"],
            )?,
            retention_protected: declare.counters(
                "coredock_retention_protected_total",
                "Records that retention spared, by reason",
                &["reason"],
            )?,
            db_errors: declare.counters(
                "coredock_db_errors_total",
                "Failed database calls",
                &["kind"],
            )?,
            db_connections: declare.gauges(
                "coredock_db_pool_connections",
                "Database connections by state",
                &["state"],
            )?,
            shutting_down: declare
                .gauge("application_shutting_down", "1 while the process shuts down")?,
            shutdown_seconds: declare.histograms(
                "graceful_shutdown_duration_seconds",
                "Time spent waiting for requests at shutdown",
                &[],
            )?,
            registry: registry.clone(),
        };
        declare.build_info()?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        metrics.show_zeroes();
        Ok(metrics)
    }

    /// The metrics as Prometheus text 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Counts an operation that began `seconds` ago.
    pub fn operation(&self, name: &str, succeeded: bool, seconds: f64) {
        let status = if succeeded { "success" } else { "error" };
        self.operations.with_label_values(&[name, status]).inc();
        self.operation_seconds.with_label_values(&[name]).observe(seconds);
    }

    /// Copies the number of dumps that retention deleted.
    pub fn read_pruned_dumps(&self, pruned: u64) {
        raise(&self.retention_removed, "coredumps", &AtomicU64::new(pruned));
    }

    pub fn count_index(&self, source: IndexOutcome) {
        let result = match source {
            IndexOutcome::Cached => "kept",
            IndexOutcome::Loaded => "loaded",
            IndexOutcome::Built => "built",
            IndexOutcome::Unreadable => "unreadable",
            IndexOutcome::Failed => "failed",
        };
        self.symbol_indexes.with_label_values(&[result]).inc();
    }

    /// Counts a violated invariant.
    pub fn violation(&self, kind: &str) {
        self.invariant_violations.with_label_values(&[kind]).inc();
    }

    /// Copies the state of the database connections and the number of failed calls.
    pub fn read_database(&self, database: &Database) {
        let connections = database.connections();
        let show = |state: &str, count: usize| {
            let gauge = self.db_connections.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        show("in_use", connections.in_use);
        show("idle", connections.open.saturating_sub(connections.in_use));
        let failures = database.failures();
        raise(&self.db_errors, "conflict", &failures.conflict);
        raise(&self.db_errors, "corrupt", &failures.corrupt);
        raise(&self.db_errors, "unavailable", &failures.unavailable);
    }

    /// Shows the state of the queue; `oldest_ready` is the age of the oldest job that can be
    /// claimed.
    pub fn show_queue(&self, queue: &QueueState, oldest_ready: Duration) {
        let show = |gauges: &IntGaugeVec, label: &str, count: u64| {
            gauges.with_label_values(&[label]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        show(&self.coredumps, ParseStatus::Pending.as_str(), queue.pending);
        show(&self.coredumps, ParseStatus::Parsed.as_str(), queue.parsed);
        show(&self.coredumps, ParseStatus::Error.as_str(), queue.errors);
        show(&self.parse_jobs, "ready", queue.ready);
        show(&self.parse_jobs, "delayed", queue.delayed);
        show(&self.parse_jobs, "running", queue.running);
        let seconds = i64::try_from(oldest_ready.as_secs()).unwrap_or(i64::MAX);
        self.parse_oldest_ready_seconds.set(seconds);
    }

    /// Copies the counts of interrupted reads.
    pub fn read_resumes(&self, counts: &ResumeCounts) {
        raise(&self.download_resumes, "resumed", &counts.resumed);
        raise(&self.download_resumes, "failed", &counts.failed);
    }

    /// Alerts need each series before its first event.
    fn show_zeroes(&self) {
        for kind in ["object_missing", "object_differs"] {
            self.invariant_violations.with_label_values(&[kind]).reset();
        }
        for result in ["created", "replaced", "unchanged", "rejected", "error"] {
            self.firmware_uploads.with_label_values(&[result]).reset();
        }
        for result in ["stored", "duplicate", "rejected", "rescued", "unavailable"] {
            self.coredump_ingest.with_label_values(&[result]).reset();
        }
        for result in ["resumed", "failed"] {
            self.download_resumes.with_label_values(&[result]).reset();
        }
    }
}

/// Raises a counter to the count that another component maintains.
fn raise(counters: &IntCounterVec, label: &str, count: &AtomicU64) {
    let counter = counters.with_label_values(&[label]);
    counter.inc_by(count.load(Ordering::Relaxed).saturating_sub(counter.get()));
}
