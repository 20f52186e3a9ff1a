//! The ROM of a chip: which of several ELFs is that of a dump.
//!
//! The names of the files that vendors publish do not tell which revision of a chip has which ROM.
//! What lies on the stacks does: return addresses into ROM follow a call in the right one only.

use std::collections::BTreeSet;

use coredock_domain::chip::Architecture;

use crate::code::{Code, ElfCode, is_rom};
use crate::dump::Dump;
use crate::elf::{Elf, ElfError};

/// Words of stacks that are looked at.
const MAX_WORDS: usize = 65_536;
/// Different addresses in ROM that are looked up.
const MAX_ADDRESSES: usize = 1024;
/// ELFs that are compared.
const MAX_ROMS: usize = 64;

/// An ELF of the ROM of a chip.
pub struct Rom<'a> {
    /// For example `esp32_rev300_rom.elf`: the number behind `_rev` is the revision of the chip.
    name: &'a str,
    /// Otherwise the name begins with that of the chip.
    chip: Option<&'a str>,
    elf: Elf<'a>,
}

impl<'a> Rom<'a> {
    /// By the name of its file.
    pub fn of_file(name: &'a str, bytes: &'a [u8]) -> Result<Self, ElfError> {
        Ok(Self { name, chip: None, elf: Elf::read(bytes)? })
    }

    /// Of a chip that is known.
    pub fn of_chip(chip: &'a str, name: &'a str, bytes: &'a [u8]) -> Result<Self, ElfError> {
        Ok(Self { name, chip: Some(chip), elf: Elf::read(bytes)? })
    }

    /// Whether nothing speaks against it. Names that tell no chip may be of any.
    fn may_belong_to(&self, dump: &Dump<'_>) -> bool {
        let told = self.chip.or_else(|| self.name.split_once("_rev").map(|(chip, _)| chip));
        let same = told.zip(dump.chip).is_none_or(|(told, chip)| told == chip);
        self.elf.architecture == dump.architecture && same
    }

    /// Major version times 100, plus minor.
    fn revision(&self) -> Option<u32> {
        let (_, digits) = self.name.split_once("_rev")?;
        let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end)?.parse().ok()
    }
}

/// The ROM of the chip a dump is of. Of those that its stacks fit equally well the one of the highest
/// revision that the chip may have, then the first.
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

/// What on the stacks may be a return address into ROM.
fn rom_addresses(dump: &Dump<'_>) -> BTreeSet<u32> {
    let stacks = dump.tasks.iter().filter_map(|task| dump.memory.from(task.registers.sp() & !3));
    let words = stacks.flat_map(|stack| stack.as_chunks::<4>().0).take(MAX_WORDS);
    let addresses = words.map(|word| in_code(u32::from_le_bytes(*word), dump.architecture));
    addresses.filter(|address| is_rom(*address)).take(MAX_ADDRESSES).collect()
}

/// Return addresses of Xtensa hold the increment of the window in place of the quarter of the address
/// space that code is in.
const fn in_code(word: u32, architecture: Architecture) -> u32 {
    match architecture {
        Architecture::RiscV => word,
        Architecture::Xtensa => word & 0x3FFF_FFFF | 0x4000_0000,
    }
}
