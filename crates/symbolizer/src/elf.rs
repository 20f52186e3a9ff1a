//! The ELF of a firmware.

mod cfi;
mod symbols;

use std::ops::Range;

use coredock_domain::chip::Architecture;
use gimli::{EndianSlice, LittleEndian};
use object::read::elf::ElfFile32;
use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};

pub(crate) use cfi::{Cfi, SavedAt, UnwindRule};
pub(crate) use symbols::{FunctionSymbol, end_of, range_around};

pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;

pub const MAX_ELF_BYTES: usize = 256 << 20;
const MAX_SECTIONS: usize = 4096;
const MAX_NAME_BYTES: usize = 256;

pub(crate) struct Elf<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) debug_line: bool,
    /// The ELF has compressed sections, which are not read.
    pub(crate) compressed: bool,
    file: ElfFile32<'a, object::LittleEndian>,
}

/// A loaded section.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: u32,
    pub(crate) size: u32,
    /// Empty for sections without bytes in the file.
    pub(crate) bytes: &'a [u8],
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

impl Section<'_> {
    /// The end can be 2^32.
    pub(crate) fn range(&self) -> Range<u64> {
        u64::from(self.address)..u64::from(self.address) + u64::from(self.size)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("expected an ELF of at most 256 MiB, found a larger one")]
    TooLarge,
    /// Not an ELF, or a damaged one.
    #[error("expected a 32-bit little-endian ELF, found something else or a damaged one ({0})")]
    Unreadable(String),
    /// A core or an object file.
    #[error("expected an executable ELF, found another type")]
    NotExecutable,
    #[error("expected an ELF for Xtensa (94) or RISC-V (243), found machine {0}")]
    Machine(u16),
    /// More of something than any compiler writes.
    #[error("the debugging information has {0}")]
    Excessive(&'static str),
}

/// The architecture of an executable or a core, by `e_machine` of its header.
pub(crate) fn architecture_of_machine(machine: u16) -> Option<Architecture> {
    [Architecture::Xtensa, Architecture::RiscV]
        .into_iter()
        .find(|architecture| architecture.elf_machine() == machine)
}

impl<'a> Elf<'a> {
    /// Reads headers only.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if bytes.len() > MAX_ELF_BYTES {
            return Err(ElfError::TooLarge);
        }
        let unreadable = |error: object::Error| ElfError::Unreadable(error.to_string());
        let file = ElfFile32::<object::LittleEndian>::parse(bytes).map_err(unreadable)?;
        let header = file.elf_header();
        let machine = header.e_machine.get(object::LittleEndian).0;
        let Some(architecture) = architecture_of_machine(machine) else {
            return Err(ElfError::Machine(machine));
        };
        if header.e_type.get(object::LittleEndian) != elf::ET_EXEC {
            return Err(ElfError::NotExecutable);
        }
        let (mut sections, mut compressed, mut debug_line) = (Vec::new(), false, false);
        for section in file.sections().take(MAX_SECTIONS) {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            compressed |= sh_flags.contains(elf::SHF_COMPRESSED);
            debug_line |= section.name() == Ok(".debug_line");
            if sh_flags.contains(elf::SHF_ALLOC) {
                sections.extend(Section::of(&section, sh_flags));
            }
        }
        Ok(Self { architecture, sections, debug_line, compressed, file })
    }

    pub(crate) fn code(&self) -> impl Iterator<Item = &Section<'a>> {
        self.sections.iter().filter(|section| section.executable)
    }

    /// Instructions from an address to the end of their section.
    pub(crate) fn code_from(&self, address: u32) -> Option<&'a [u8]> {
        let section = self.code().find(|section| section.range().contains(&address.into()))?;
        section.bytes.get(usize::try_from(address - section.address).ok()?..)
    }

    /// The debugging information. Compressed sections count as absent.
    pub(crate) fn dwarf(&self) -> gimli::Dwarf<Slice<'a>> {
        let load = |id: gimli::SectionId| Ok::<_, gimli::Error>(self.debug_section(id.name()).0);
        gimli::Dwarf::load(load).unwrap_or_default()
    }

    /// A section that is not loaded, and its address.
    fn debug_section(&self, name: &str) -> (Slice<'a>, u32) {
        let section = self.file.section_by_name_bytes(name.as_bytes()).filter(|section| {
            matches!(section.flags(), SectionFlags::Elf { sh_flags, .. }
                if !sh_flags.contains(elf::SHF_COMPRESSED))
        });
        let address = section.as_ref().and_then(|section| u32::try_from(section.address()).ok());
        let bytes = section.and_then(|section| section.data().ok()).unwrap_or_default();
        (EndianSlice::new(bytes, LittleEndian), address.unwrap_or_default())
    }
}

impl<'a> Section<'a> {
    fn of<'file>(
        section: &object::read::elf::ElfSection32<'a, 'file, object::LittleEndian>,
        flags: elf::SectionFlags,
    ) -> Option<Self> {
        let name = section.name_bytes().ok().filter(|name| name.len() <= MAX_NAME_BYTES);
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        let in_file = section.kind() != SectionKind::UninitializedData;
        let bytes = if in_file { section.data().ok()? } else { &[] };
        Some(Self {
            name,
            address: u32::try_from(section.address()).ok()?,
            size: u32::try_from(section.size()).ok()?,
            bytes,
            executable: flags.contains(elf::SHF_EXECINSTR),
            writable: flags.contains(elf::SHF_WRITE),
        })
    }
}
