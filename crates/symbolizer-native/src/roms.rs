//! The ROM ELFs of a chip, out of the store.

use std::sync::Arc;

use bytes::Bytes;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::artifacts::verified_reads::{ReadObject, VerifiedReads};
use coredock_domain::chip::KnownChip;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::rom_elfs::repository::RomElfRepository;
use coredock_domain::rom_elfs::rom_elf::RomElf;
use coredock_domain::symbolication::symbolizer::SymbolizerError;
use coredock_symbolizer::Rom;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::unavailable;

/// ROM ELFs kept in memory, in bytes; one has about a megabyte.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;

/// The bytes of a ROM ELF.
pub(crate) struct RomFile {
    chip: KnownChip,
    name: String,
    bytes: Bytes,
}

/// The ROM ELFs that are held.
pub(crate) struct Roms {
    rows: Arc<dyn RomElfRepository>,
    reads: VerifiedReads,
    kept: Cache<Sha256Digest, Bytes>,
}

impl Roms {
    pub(crate) fn new(rows: Arc<dyn RomElfRepository>, reads: VerifiedReads) -> Self {
        let kept = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .max_capacity(KEPT_BYTES)
            .build();
        Self { rows, reads, kept }
    }

    /// Those of a chip; damaged and missing ones are left out. Fails when database or store are
    /// down: a report without the names in them would be there for good.
    pub(crate) async fn of_chip(&self, chip: KnownChip) -> Result<Vec<RomFile>, SymbolizerError> {
        let mut files = Vec::new();
        for rom in self.rows.list_of_chip(chip).await.map_err(unavailable)? {
            if let Some(bytes) = self.bytes(&rom).await? {
                files.push(RomFile { chip, name: rom.name.to_string(), bytes });
            }
        }
        Ok(files)
    }

    async fn bytes(&self, rom: &RomElf) -> Result<Option<Bytes>, SymbolizerError> {
        let sha256 = rom.facts.sha256;
        if let Some(bytes) = self.kept.get(&sha256) {
            return Ok(Some(bytes));
        }
        let read = self.read(rom).await.map_err(unavailable)?;
        if let Some(bytes) = &read {
            self.kept.insert(sha256, bytes.clone());
        } else {
            tracing::warn!(id = rom.id, "a ROM ELF is missing or damaged");
        }
        Ok(read)
    }

    async fn read(&self, rom: &RomElf) -> Result<Option<Bytes>, ArtifactStoreError> {
        match self.reads.read(&rom.key(), rom.facts).await {
            Ok(ReadObject::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(ReadObject::Missing | ReadObject::Different)
            | Err(ArtifactStoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Those the engine can read.
pub(crate) fn opened(files: &[RomFile]) -> Vec<Rom<'_>> {
    files.iter().filter_map(open).collect()
}

fn open(file: &RomFile) -> Option<Rom<'_>> {
    let opened = Rom::of_chip(file.chip.name(), &file.name, &file.bytes);
    if let Err(error) = &opened {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, name = file.name, "a ROM ELF cannot be used");
    }
    opened.ok()
}
