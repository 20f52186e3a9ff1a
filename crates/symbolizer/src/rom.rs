//! Choosing the ROM ELF for a dump.
//!
//! The file names that vendors publish do not say which revision of a chip has which ROM. The
//! stacks do: a return address into ROM follows a call instruction only in the right ELF.

use std::collections::BTreeSet;

use coredock_domain::chip::Architecture;

use crate::code::{Code, ElfCode, is_rom};
use crate::dump::Dump;
use crate::elf::{Elf, ElfError};

/// Words of the stacks that are examined.
const MAX_WORDS: usize = 65_536;
/// Different ROM addresses that are looked up.
const MAX_ADDRESSES: usize = 1024;
const MAX_ROMS: usize = 64;

/// An ELF of the ROM of a chip.
pub struct Rom<'a> {
    /// For example `esp32_rev300_rom.elf`: the number after `_rev` is the revision of the chip.
    name: &'a str,
    /// `None`: the chip is the part of the name before `_rev`.
    chip: Option<&'a str>,
    elf: Elf<'a>,
}

impl<'a> Rom<'a> {
    /// An ELF whose chip may be in the name of its file.
    pub fn of_file(name: &'a str, bytes: &'a [u8]) -> Result<Self, ElfError> {
        Ok(Self { name, chip: None, elf: Elf::read(bytes)? })
    }

    pub fn of_chip(chip: &'a str, name: &'a str, bytes: &'a [u8]) -> Result<Self, ElfError> {
        Ok(Self { name, chip: Some(chip), elf: Elf::read(bytes)? })
    }

    /// Whether chip and architecture agree, as far as they are known.
    fn may_belong_to(&self, dump: &Dump<'_>) -> bool {
        let named = self.chip.or_else(|| self.name.split_once("_rev").map(|(chip, _)| chip));
        let same = named.zip(dump.chip).is_none_or(|(named, chip)| named == chip);
        self.elf.architecture == dump.architecture && same
    }

    /// Major version times 100, plus minor version.
    fn revision(&self) -> Option<u32> {
        let (_, digits) = self.name.split_once("_rev")?;
        let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end)?.parse().ok()
    }
}

/// The ROM whose code fits the stacks best. Among equals the ROM with the highest revision that the
/// chip can have, then the first.
pub(crate) fn choose<'a>(roms: &'a [Rom<'a>], dump: &Dump<'_>) -> Option<ElfCode<'a, 'a>> {
    let candidates: Vec<_> =
        roms.iter().filter(|rom| rom.may_belong_to(dump)).take(MAX_ROMS).collect();
    if let [only] = candidates[..] {
        return Some(ElfCode::of(&only.elf));
    }
    let addresses = rom_addresses(dump);
    let mut best = None;
    for rom in candidates {
        let code = ElfCode::of(&rom.elf);
        let fitting = addresses.iter().filter(|address| code.call_before(**address).is_some());
        let revision = rom.revision().unwrap_or_default();
        let possible = dump.chip_revision.is_none_or(|chip| revision <= chip);
        let rank = (
            fitting.count(),
            possible,
            if possible { i64::from(revision) } else { -i64::from(revision) },
        );
        if best.as_ref().is_none_or(|(known, _)| *known < rank) {
            best = Some((rank, code));
        }
    }
    best.map(|(_, code)| code)
}

/// Words on the stacks that may be return addresses into ROM.
fn rom_addresses(dump: &Dump<'_>) -> BTreeSet<u32> {
    let stacks = dump.tasks.iter().filter_map(|task| dump.memory.from(task.registers.sp() & !3));
    let words = stacks.flat_map(|stack| stack.as_chunks::<4>().0).take(MAX_WORDS);
    let addresses = words.map(|word| in_code(u32::from_le_bytes(*word), dump.architecture));
    addresses.filter(|address| is_rom(*address)).take(MAX_ADDRESSES).collect()
}

/// Return addresses of Xtensa have the window increment in place of the two bits that select the
/// quarter of the address space with the code.
const fn in_code(word: u32, architecture: Architecture) -> u32 {
    match architecture {
        Architecture::RiscV => word,
        Architecture::Xtensa => word & 0x3FFF_FFFF | 0x4000_0000,
    }
}
