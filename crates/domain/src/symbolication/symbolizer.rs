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

    /// The structured report of a dump without its ELF (contract §6.9); `None` if the engine does
    /// not support that. `Rejected` when no ELF would help.
    async fn preview(&self, dump: &CrashDump) -> Result<Option<String>, SymbolizerError>;

    /// Makes the report of one dump. Ends by itself within its time limit; its temporary files are
    /// deleted when it returns or is dropped. `ElfMissing` when the ELF could not be opened.
    async fn symbolicate(&self, job: SymbolicateCoredump) -> Result<CrashReport, SymbolizerError>;

    /// Whether the engine answers.
    async fn is_ready(&self) -> bool;
}

/// For failures of the store while an ELF or an index is read.
impl From<ArtifactStoreError> for SymbolizerError {
    fn from(error: ArtifactStoreError) -> Self {
        match error {
            // The next read may succeed, so this is retried; but the attempt counts.
            ArtifactStoreError::Damaged { .. } => {
                Self::Failed { reason: error.to_string(), source: Some(error.into()) }
            }
            ArtifactStoreError::Unavailable { .. } | ArtifactStoreError::NotFound { .. } => {
                Self::Unavailable { source: error.into() }
            }
        }
    }
}

/// A dump to be symbolicated.
#[derive(Debug, Clone)]
pub struct CrashDump {
    /// Unique among all jobs under way.
    pub coredump_id: i64,
    pub model: ModelCode,
    /// The version the device named.
    pub firmware_version: String,
    /// The chip the device named.
    pub chip: String,
    /// The body, unwrapped as far as it can be read.
    pub body: Unwrapped,
}

/// A dump to be symbolicated, and the ELF of its build.
pub struct SymbolicateCoredump {
    pub dump: CrashDump,
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

/// An opened ELF.
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
    /// See contract §6.10.
    pub signature: Option<String>,
}

/// Why there is no report (contract §6.5).
#[derive(Debug, thiserror::Error)]
pub enum SymbolizerError {
    /// The input is at fault: another attempt would end the same way.
    #[error("{reason}")]
    Rejected {
        code: ParseErrorCode,
        /// For people.
        reason: String,
    },
    /// The ELF is not in the store.
    #[error("the ELF is not in the artifact store")]
    ElfMissing,
    /// The engine crashed, took too long or gave an invalid answer: another attempt may succeed.
    #[error("{reason}")]
    Failed {
        /// For people; must not contain addresses of servers.
        reason: String,
        /// For the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A dependency of the engine is down: the attempt does not count.
    #[error("a dependency of the symbolizer is unavailable")]
    Unavailable {
        /// For the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
