//! Answers about ROM ELFs.

use coredock_domain::rom_elfs::rom_elf::RomElf;
use serde::Serialize;
use utoipa::ToSchema;

/// A ROM ELF.
#[derive(Serialize, ToSchema)]
pub struct RomElfView {
    id: i64,
    chip: &'static str,
    name: String,
    size: u64,
    sha256: String,
    uploaded_at: String,
}

impl From<RomElf> for RomElfView {
    fn from(rom_elf: RomElf) -> Self {
        Self {
            id: rom_elf.id,
            chip: rom_elf.chip.name(),
            name: rom_elf.name.to_string(),
            size: rom_elf.facts.size,
            sha256: rom_elf.facts.sha256.to_string(),
            uploaded_at: rom_elf.uploaded_at.to_string(),
        }
    }
}

/// The ROM ELFs, by chip and name.
#[derive(Serialize, ToSchema)]
pub struct RomElfListView {
    count: usize,
    rom_elfs: Vec<RomElfView>,
}

impl From<Vec<RomElf>> for RomElfListView {
    fn from(rom_elfs: Vec<RomElf>) -> Self {
        let rom_elfs: Vec<_> = rom_elfs.into_iter().map(Into::into).collect();
        Self { count: rom_elfs.len(), rom_elfs }
    }
}
