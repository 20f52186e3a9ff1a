//! Settings of dumps and of the symbolizer.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use coredock_domain::intake::IntakeSettings;
use coredock_domain::symbolication::SymbolicationSettings;

use super::reader::Reader;

/// Jobs which one claim takes for the native engine, which needs less than a millisecond for most: they
/// share the commit of the claim and that of the results.
const MOST_CLAIMED: u32 = 32;
/// More workers only wait for the same engine.
const MOST_WORKERS_BY_DEFAULT: usize = 8;

#[derive(Debug, Clone)]
pub struct CoredumpConfig {
    pub intake: IntakeSettings,
    pub symbolication: SymbolicationSettings,
    /// Largest size of the rescue spool (`RESCUE_SPOOL_BYTES`).
    pub rescue_bytes: u64,
    /// Set if the sidecar is configured, even if `symbolizer` does not use it.
    pub sidecar: Option<SidecarConfig>,
    pub symbolizer: SymbolizerConfig,
    /// Parse jobs that run at the same time.
    pub workers: usize,
}

/// The engine that parses dumps (`SYMBOLIZER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolizerConfig {
    /// Jobs wait.
    Off,
    Native,
    Sidecar,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarConfig {
    /// `PARSE_SIDECAR_URL`
    pub url: String,
    /// `PARSE_SIDECAR_XFER_DIR`
    pub directory: PathBuf,
}

pub(super) fn read(reader: &mut Reader<'_>) -> CoredumpConfig {
    if reader.integer("PARSE_LEASE_SECONDS") <= reader.integer("PARSE_TIMEOUT_SECONDS") {
        let timeout = reader.integer("PARSE_TIMEOUT_SECONDS");
        reader
            .fault(format!("PARSE_LEASE_SECONDS: must be above PARSE_TIMEOUT_SECONDS ({timeout})"));
    }
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let workers = reader.optional_integer("SYMBOLIZER_WORKERS");
    let sidecar = sidecar(reader);
    let symbolizer = symbolizer(reader, sidecar.as_ref());
    let kept_coredumps = small(reader.integer("MAX_COREDUMPS"));
    CoredumpConfig {
        intake: IntakeSettings {
            largest_body: reader.integer("MAX_COREDUMP_BYTES"),
            kept_coredumps,
            same_body_for: reader.seconds("COREDUMP_DEDUPE_SECONDS"),
        },
        symbolication: SymbolicationSettings {
            kept_coredumps,
            lease: reader.seconds("PARSE_LEASE_SECONDS"),
            longest_attempt: reader.seconds("PARSE_TIMEOUT_SECONDS"),
            most_attempts: small(reader.integer("PARSE_MAX_ATTEMPTS")),
            retry_delays: reader.all_seconds("PARSE_RETRY_DELAYS"),
            most_claimed: match symbolizer {
                SymbolizerConfig::Native => MOST_CLAIMED,
                SymbolizerConfig::Off | SymbolizerConfig::Sidecar => 1,
            },
        },
        rescue_bytes: reader.integer("RESCUE_SPOOL_BYTES"),
        symbolizer,
        sidecar,
        workers: workers.map_or_else(default_workers, |workers| {
            usize::try_from(workers).unwrap_or(MOST_WORKERS_BY_DEFAULT)
        }),
    }
}

fn default_workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cpus.min(MOST_WORKERS_BY_DEFAULT)
}

/// URL and directory are set together or not at all.
fn sidecar(reader: &mut Reader<'_>) -> Option<SidecarConfig> {
    let (url, directory) = ("PARSE_SIDECAR_URL", "PARSE_SIDECAR_XFER_DIR");
    match (reader.optional(url), reader.optional(directory)) {
        (Some(url), Some(directory)) => {
            let url = url.trim_end_matches('/').to_owned();
            return Some(SidecarConfig { url, directory: directory.into() });
        }
        (Some(_), None) => reader.fault(format!("{directory}: must be set with {url}")),
        (None, Some(_)) => reader.fault(format!("{url}: must be set with {directory}")),
        (None, None) if reader.text("SYMBOLIZER") == "sidecar" => {
            reader.fault(format!("SYMBOLIZER: sidecar needs {url} and {directory}"));
        }
        (None, None) => {}
    }
    None
}

/// `auto` is the sidecar if it is configured, else the native engine.
fn symbolizer(reader: &Reader<'_>, sidecar: Option<&SidecarConfig>) -> SymbolizerConfig {
    match reader.text("SYMBOLIZER").as_str() {
        "off" => SymbolizerConfig::Off,
        "native" => SymbolizerConfig::Native,
        _ if sidecar.is_some() => SymbolizerConfig::Sidecar,
        _ => SymbolizerConfig::Native,
    }
}
