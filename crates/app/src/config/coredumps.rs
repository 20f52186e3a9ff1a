//! Settings of dumps and of the symbolizer.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use coredock_domain::intake::IntakeSettings;
use coredock_domain::symbolication::SymbolicationSettings;

use super::reader::Reader;

/// Jobs in one claim for the native engine. Most take it less than a millisecond, so jobs share the
/// commit of the claim and the commit of the results.
const MAX_CLAIMED: u32 = 32;
/// More workers would only wait for the same engine.
const MAX_DEFAULT_WORKERS: usize = 8;

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

impl SymbolizerConfig {
    /// As in `SYMBOLIZER`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Native => "native",
            Self::Sidecar => "sidecar",
        }
    }
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
    let to_u32 = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let workers = reader.optional_integer("SYMBOLIZER_WORKERS");
    let sidecar = sidecar(reader);
    let symbolizer = symbolizer(reader, sidecar.as_ref());
    let max_coredumps = to_u32(reader.integer("MAX_COREDUMPS"));
    CoredumpConfig {
        intake: IntakeSettings {
            max_body_bytes: reader.integer("MAX_COREDUMP_BYTES"),
            max_coredumps,
            deduplication_window: reader.seconds("COREDUMP_DEDUPE_SECONDS"),
        },
        symbolication: SymbolicationSettings {
            max_coredumps,
            lease: reader.seconds("PARSE_LEASE_SECONDS"),
            attempt_timeout: reader.seconds("PARSE_TIMEOUT_SECONDS"),
            max_attempts: to_u32(reader.integer("PARSE_MAX_ATTEMPTS")),
            retry_delays: reader.all_seconds("PARSE_RETRY_DELAYS"),
            max_claimed: match symbolizer {
                SymbolizerConfig::Native => MAX_CLAIMED,
                SymbolizerConfig::Off | SymbolizerConfig::Sidecar => 1,
            },
        },
        rescue_bytes: reader.integer("RESCUE_SPOOL_BYTES"),
        symbolizer,
        sidecar,
        workers: workers.map_or_else(default_workers, |workers| {
            usize::try_from(workers).unwrap_or(MAX_DEFAULT_WORKERS)
        }),
    }
}

fn default_workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cpus.min(MAX_DEFAULT_WORKERS)
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
