//! Settings of dumps and of who parses them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use coredock_domain::coredumps::CoredumpSettings;

use super::reader::Reader;

/// More workers than this only wait for the same engine.
const MOST_WORKERS_BY_DEFAULT: usize = 8;

/// Dumps.
#[derive(Debug, Clone)]
pub struct CoredumpConfig {
    /// Limits of keeping and parsing.
    pub settings: CoredumpSettings,
    /// Who makes reports.
    pub symbolizer: SymbolizerConfig,
    /// Jobs worked on at once.
    pub workers: usize,
}

/// Who makes reports (`SYMBOLIZER`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolizerConfig {
    /// Nobody: jobs wait.
    Off,
    /// The HTTP sidecar.
    Sidecar {
        /// `PARSE_SIDECAR_URL`
        url: String,
        /// `PARSE_SIDECAR_XFER_DIR`
        directory: PathBuf,
    },
}

pub(super) fn read(reader: &mut Reader<'_>) -> CoredumpConfig {
    if reader.integer("PARSE_LEASE_SECONDS") <= reader.integer("PARSE_TIMEOUT_SECONDS") {
        reader.fault("PARSE_LEASE_SECONDS: must be above PARSE_TIMEOUT_SECONDS");
    }
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let workers = reader.optional_integer("SYMBOLIZER_WORKERS");
    CoredumpConfig {
        settings: CoredumpSettings {
            largest_body: reader.integer("MAX_COREDUMP_BYTES"),
            kept_coredumps: small(reader.integer("MAX_COREDUMPS")),
            same_body_for: reader.seconds("COREDUMP_DEDUPE_SECONDS"),
            lease: reader.seconds("PARSE_LEASE_SECONDS"),
            longest_attempt: reader.seconds("PARSE_TIMEOUT_SECONDS"),
            most_attempts: small(reader.integer("PARSE_MAX_ATTEMPTS")),
            retry_delays: reader.all_seconds("PARSE_RETRY_DELAYS"),
        },
        symbolizer: symbolizer(reader),
        workers: workers.map_or_else(default_workers, |workers| {
            usize::try_from(workers).unwrap_or(MOST_WORKERS_BY_DEFAULT)
        }),
    }
}

fn default_workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cpus.min(MOST_WORKERS_BY_DEFAULT)
}

/// `auto` without a sidecar is `off` until there is a native engine (contract §13).
fn symbolizer(reader: &mut Reader<'_>) -> SymbolizerConfig {
    let (url, directory) = ("PARSE_SIDECAR_URL", "PARSE_SIDECAR_XFER_DIR");
    let choice = reader.text("SYMBOLIZER");
    match (reader.optional(url), reader.optional(directory)) {
        (Some(_), None) => reader.fault(format!("{directory}: must be set with {url}")),
        (None, Some(_)) => reader.fault(format!("{url}: must be set with {directory}")),
        (None, None) if choice == "sidecar" => {
            reader.fault(format!("SYMBOLIZER: sidecar needs {url} and {directory}"));
        }
        (Some(url), Some(directory)) if choice != "off" => {
            let url = url.trim_end_matches('/').to_owned();
            return SymbolizerConfig::Sidecar { url, directory: directory.into() };
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    SymbolizerConfig::Off
}
