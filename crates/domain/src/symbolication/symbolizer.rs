//! The port to the engine which turns a dump into a report.

use std::sync::Arc;

use async_trait::async_trait;

use crate::artifacts::store::ArtifactStoreError;
use crate::artifacts::verified_reads::ArtifactBytes;
use crate::coredumps::body::Unwrapped;
use crate::coredumps::coredump::ParseErrorCode;
use crate::digest::Sha256Digest;
use crate::ids::ModelCode;

/// Turns dumps into crash reports.
#[async_trait]
pub trait Symbolizer: Send + Sync {
    /// The name in metrics and on the health page.
    fn engine(&self) -> &'static str;

    /// What can be said about a dump without its ELF: a structured report (contract §6.9), `None` from
    /// an engine which makes none. `Rejected` when no ELF would help.
    async fn preview(&self, dump: &CrashDump) -> Result<Option<String>, SymbolizerError>;

    /// Makes the report of one dump. Gives up by itself within its time limit; whatever it made for
    /// the job is deleted when it returns or is dropped. `ElfMissing` when it opened the ELF in vain.
    async fn symbolicate(&self, job: SymbolicateCoredump) -> Result<CrashReport, SymbolizerError>;

    /// Whether it answers at all.
    async fn is_ready(&self) -> bool;
}

/// The store failed on the way of an ELF or an index.
impl From<ArtifactStoreError> for SymbolizerError {
    fn from(error: ArtifactStoreError) -> Self {
        match error {
            // The next read may be whole; but not for ever.
            ArtifactStoreError::Damaged { .. } => {
                Self::Failed { reason: error.to_string(), source: Some(error.into()) }
            }
            ArtifactStoreError::Unavailable { .. } | ArtifactStoreError::NotFound { .. } => {
                Self::Unavailable { source: error.into() }
            }
        }
    }
}

/// A dump and what is known about it.
#[derive(Debug, Clone)]
pub struct CrashDump {
    /// Row id of the dump, unique among all jobs that run.
    pub coredump_id: i64,
    /// Code of the device's model.
    pub model: ModelCode,
    /// The version of the firmware, as the device named it.
    pub firmware_version: String,
    /// The chip the device named.
    pub chip: String,
    /// The body, unwrapped as far as it can be read.
    pub body: Unwrapped,
}

/// A dump to be symbolicated.
pub struct SymbolicateCoredump {
    /// The dump.
    pub dump: CrashDump,
    /// The ELF the dump was made by.
    pub elf: Arc<dyn ElfSource>,
}

/// Opens an ELF for an engine which needs it.
#[async_trait]
pub trait ElfSource: Send + Sync {
    /// Digest of the whole file: the build id.
    fn sha256(&self) -> Sha256Digest;

    /// The file; `ElfMissing` when it does not exist, `Unavailable` when it cannot be opened now.
    async fn open(&self) -> Result<ElfFile, SymbolizerError>;
}

/// An ELF on its way to the symbolizer.
pub struct ElfFile {
    /// Digest of the whole file: the build id.
    pub sha256: Sha256Digest,
    /// Length in bytes.
    pub size: u64,
    /// The whole file.
    pub bytes: ArtifactBytes,
}

/// The report of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashReport {
    /// For people.
    pub text: String,
    /// For programs: a JSON object (contract §6.9).
    pub structured: Option<String>,
    /// Hash that dumps of one cause share (contract §6.10).
    pub signature: Option<String>,
}

/// Why there is no report (contract §6.5).
#[derive(Debug, thiserror::Error)]
pub enum SymbolizerError {
    /// The input is at fault: another attempt would end the same way.
    #[error("{reason}")]
    Rejected {
        /// What is wrong with which input.
        code: ParseErrorCode,
        /// For people.
        reason: String,
    },
    /// The ELF is not in the store.
    #[error("the ELF does not exist")]
    ElfMissing,
    /// The engine crashed, took too long or answered nonsense: another attempt may succeed.
    #[error("{reason}")]
    Failed {
        /// For people; names no address.
        reason: String,
        /// What happened, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A dependency of the engine is down: the attempt does not count.
    #[error("the symbolizer is unavailable")]
    Unavailable {
        /// What happened, for the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
