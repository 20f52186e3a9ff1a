//! The ports [`Symbolizer`] and [`SymbolIndexer`] over the native engine, [`coredock_symbolizer`]
//! (contract §6.5, §6.9).
//!
//! This process never parses the ELF of a firmware. A child process under limits builds an index of
//! it, which is cached in memory; dumps are decoded with the index. Files which go to and come from
//! the child have no names: nothing remains of an attempt.

pub mod child;
mod indexer;
mod indexes;
mod roms;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::Symbolizer;
use coredock_domain::artifacts::verified_reads::VerifiedReads;
use coredock_domain::chip::KnownChip;
use coredock_domain::coredumps::coredump::ParseErrorCode;
use coredock_domain::rom_elfs::repository::RomElfRepository;
use coredock_domain::symbolication::indexes::{StoredIndexes, SymbolIndexer};
use coredock_domain::symbolication::symbolizer::{
    CrashDump, CrashReport, ElfSource, SymbolicateCoredump, SymbolizerError,
};
use coredock_symbolizer::{
    DecodeError, Firmware, INDEX_FORMAT, Index, Report, chip_of as chip_of_body, decode_unwrapped,
};

use indexer::Indexer;
use indexes::Indexes;
use roms::{RomFile, Roms, parse_roms};

pub use indexer::{IndexerOptions, this_program};
pub use indexes::IndexOutcome;

pub struct NativePorts {
    pub roms: Arc<dyn RomElfRepository>,
    /// Reads the bytes of ROM ELFs.
    pub reads: VerifiedReads,
    pub indexes: StoredIndexes,
    /// Called once for every use of an index.
    pub observe: Arc<dyn Fn(IndexOutcome) + Send + Sync>,
}

#[derive(Debug, Clone)]
pub struct NativeOptions {
    pub indexer: IndexerOptions,
}

impl NativeOptions {
    /// This program is the indexer; `scratch`, the directory of temporary files, must exist when
    /// the first dump arrives. Attempts end by themselves within about `attempt_timeout`.
    pub fn new(scratch: PathBuf, attempt_timeout: Duration) -> Self {
        Self {
            indexer: IndexerOptions {
                program: this_program(),
                scratch,
                // The time limit for the store must pass before that of the attempt: then the
                // attempt does not count.
                elf_timeout: attempt_timeout / 2,
            },
        }
    }
}

pub struct NativeSymbolizer {
    indexes: Indexes,
    roms: Roms,
}

impl NativeSymbolizer {
    pub fn new(ports: NativePorts, options: NativeOptions) -> Self {
        let NativePorts { roms, reads, indexes, observe } = ports;
        Self {
            indexes: Indexes::new(indexes, Indexer::new(options.indexer), observe),
            roms: Roms::new(roms, reads),
        }
    }
}

#[async_trait]
impl Symbolizer for NativeSymbolizer {
    fn engine(&self) -> &'static str {
        "native"
    }

    async fn preview(&self, dump: &CrashDump) -> Result<Option<String>, SymbolizerError> {
        let preview = run_engine(|| Ok(report_of(dump, None)?.structured().to_string()))?;
        Ok(Some(preview))
    }

    async fn symbolicate(&self, job: SymbolicateCoredump) -> Result<CrashReport, SymbolizerError> {
        let SymbolicateCoredump { dump, elf } = job;
        let index = self.indexes.get(&*elf).await?;
        let roms = match chip_of(&dump)? {
            Some(chip) => self.roms.of_chip(chip).await?,
            None => Vec::new(),
        };
        run_engine(move || make_report(&dump, index, &roms))
    }

    async fn is_ready(&self) -> bool {
        true
    }
}

#[async_trait]
impl SymbolIndexer for NativeSymbolizer {
    fn format(&self) -> u32 {
        INDEX_FORMAT
    }

    async fn index(&self, elf: &dyn ElfSource) -> Result<Bytes, SymbolizerError> {
        Ok(self.indexes.get(elf).await?.bytes().clone())
    }
}

/// The chip that the dump names, otherwise the chip that the device named.
fn chip_of(dump: &CrashDump) -> Result<Option<KnownChip>, SymbolizerError> {
    let named = KnownChip::named(&dump.chip);
    let found =
        run_engine(|| chip_of_body(&dump.body).map_err(|error| decode_failed(&error.into())))?;
    Ok(found.and_then(KnownChip::named).or(named))
}

fn make_report(
    dump: &CrashDump,
    index: Index,
    roms: &[RomFile],
) -> Result<CrashReport, SymbolizerError> {
    let roms = parse_roms(roms);
    let firmware = Firmware::of_index(index).with_roms(&roms);
    let report = report_of(dump, Some(&firmware))?;
    Ok(CrashReport {
        text: report.text(),
        structured: Some(report.structured().to_string()),
        signature: report.signature().map(|signature| signature.hash),
    })
}

/// The report, with the model and the version, which only the server knows.
fn report_of(dump: &CrashDump, firmware: Option<&Firmware<'_>>) -> Result<Report, SymbolizerError> {
    let report = decode_unwrapped(&dump.body, firmware);
    let mut report = report.map_err(|error| decode_failed(&error))?;
    report.build.model_code = Some(dump.model.to_string());
    report.build.firmware_version = Some(dump.firmware_version.clone());
    Ok(report)
}

fn decode_failed(error: &DecodeError) -> SymbolizerError {
    let code = match error {
        DecodeError::Dump(_) => ParseErrorCode::DumpUnreadable,
        DecodeError::Elf(_) | DecodeError::OtherArchitecture { .. } => {
            ParseErrorCode::ElfUnreadable
        }
        DecodeError::OtherBuild { .. } => ParseErrorCode::EngineRefused,
    };
    SymbolizerError::Rejected { code, reason: error.to_string() }
}

/// Runs the engine on the calling thread, which exists to block: parse workers have threads of
/// their own. A panic becomes a failed attempt.
fn run_engine<T>(work: impl FnOnce() -> Result<T, SymbolizerError>) -> Result<T, SymbolizerError> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    outcome.unwrap_or_else(|_| Err(failed("the engine crashed", "the panic is in the log")))
}

fn failed(
    reason: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SymbolizerError {
    SymbolizerError::Failed { reason: reason.into(), source: Some(source.into()) }
}

fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SymbolizerError {
    SymbolizerError::Unavailable { source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_a_failed_attempt() {
        let outcome = run_engine::<()>(|| panic!("a bug"));
        assert!(
            matches!(&outcome, Err(SymbolizerError::Failed { reason, .. }) if reason == "the engine crashed"),
            "{outcome:?}"
        );
    }
}
