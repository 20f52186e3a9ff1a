//! The ROM ELFs of a chip, read from the store and cached.

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

/// Space for some ROM ELFs, which have about a megabyte each.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct RomFile {
    chip: KnownChip,
    name: String,
    bytes: Bytes,
}

pub(crate) struct Roms {
    repository: Arc<dyn RomElfRepository>,
    reads: VerifiedReads,
    cache: Cache<Sha256Digest, Bytes>,
}

impl Roms {
    pub(crate) fn new(repository: Arc<dyn RomElfRepository>, reads: VerifiedReads) -> Self {
        let cache = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .max_capacity(CACHE_BYTES)
            .build();
        Self { repository, reads, cache }
    }

    /// Leaves out damaged and missing ROM ELFs. Fails when the database or the store does not
    /// answer: a report without the names of ROM functions would stay that way.
    pub(crate) async fn of_chip(&self, chip: KnownChip) -> Result<Vec<RomFile>, SymbolizerError> {
        let mut files = Vec::new();
        for rom in self.repository.list_of_chip(chip).await.map_err(unavailable)? {
            if let Some(bytes) = self.bytes(&rom).await? {
                files.push(RomFile { chip, name: rom.name.to_string(), bytes });
            }
        }
        Ok(files)
    }

    async fn bytes(&self, rom: &RomElf) -> Result<Option<Bytes>, SymbolizerError> {
        let sha256 = rom.facts.sha256;
        if let Some(bytes) = self.cache.get(&sha256) {
            return Ok(Some(bytes));
        }
        let read = self.read(rom).await.map_err(unavailable)?;
        if let Some(bytes) = &read {
            self.cache.insert(sha256, bytes.clone());
        } else {
            let RomElf { id, name, chip, .. } = rom;
            let key = rom.key();
            tracing::warn!(
                id,
                "ROM ELF {id} ({name}) of {chip} is not used: its object {key} is missing or damaged"
            );
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

/// Leaves out ROM ELFs that the engine cannot read.
pub(crate) fn parse_roms(files: &[RomFile]) -> Vec<Rom<'_>> {
    files.iter().filter_map(parse).collect()
}

fn parse(file: &RomFile) -> Option<Rom<'_>> {
    let parsed = Rom::of_chip(file.chip.name(), &file.name, &file.bytes);
    if let Err(error) = &parsed {
        let error = error as &dyn std::error::Error;
        let (name, chip) = (&file.name, file.chip.name());
        tracing::warn!(error, name, "ROM ELF {name} of {chip} is not used: it cannot be read");
    }
    parsed.ok()
}
