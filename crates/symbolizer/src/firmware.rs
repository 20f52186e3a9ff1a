//! The firmware for a dump: an index, or an ELF that is read as far as needed.

use std::ops::Range;

use coredock_domain::chip::Architecture;
use coredock_domain::digest::Sha256Digest;

use crate::arguments::{Argument, NameLookup, value_of};
use crate::code::{Call, Code, ElfCode, Jump, is_rom};
use crate::dump::{Dump, Memory};
use crate::dwarf::Dwarf;
use crate::elf::{Elf, ElfError, UnwindRule};
use crate::facts::{Facts, Region};
use crate::index::Index;
use crate::parameters::Parameter;
use crate::rom::{self, Rom};
use crate::sources::{Located, Source, SourceTable, Sources, look_up};
use crate::unwind::Frame;

/// In bytes. A symbol of the linker script names a function only this close to its start.
const MAX_DISTANCE: u32 = 64;

/// Functions, lines and unwind rules of a firmware.
pub struct Firmware<'a> {
    symbols: Symbols<'a>,
    roms: &'a [Rom<'a>],
}

/// Both ways give the same report.
enum Symbols<'a> {
    Index(Box<Index>),
    /// Of the whole file only what a dump needs is read.
    Elf {
        elf: Box<Elf<'a>>,
        sha256: Sha256Digest,
    },
}

impl<'a> Firmware<'a> {
    /// Hashes the ELF and reads its headers.
    pub fn of_elf(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let elf = Box::new(Elf::read(bytes)?);
        let symbols = Symbols::Elf { elf, sha256: Sha256Digest::of(bytes) };
        Ok(Self { symbols, roms: &[] })
    }

    pub fn of_index(index: Index) -> Self {
        Self { symbols: Symbols::Index(Box::new(index)), roms: &[] }
    }

    /// Names and unwinds functions in the ROM of the chip too. The stacks of the dump decide which
    /// of the ROMs it is.
    #[must_use]
    pub fn with_roms(self, roms: &'a [Rom<'a>]) -> Self {
        Self { roms, ..self }
    }

    /// The SHA-256 of the whole ELF, which is the build id.
    pub const fn elf_sha256(&self) -> Sha256Digest {
        match &self.symbols {
            Symbols::Index(index) => index.elf_sha256(),
            Symbols::Elf { sha256, .. } => *sha256,
        }
    }

    pub const fn architecture(&self) -> Architecture {
        match &self.symbols {
            Symbols::Index(index) => index.architecture(),
            Symbols::Elf { elf, .. } => elf.architecture,
        }
    }

    pub(crate) fn session(&self, dump: &Dump<'_>) -> Result<Session<'_>, ElfError> {
        let rom = rom::choose(self.roms, dump);
        let symbols = match &self.symbols {
            Symbols::Index(index) => OpenSymbols::Index(index),
            Symbols::Elf { elf, sha256 } => OpenSymbols::Elf(Box::new(OpenElf::new(elf, *sha256)?)),
        };
        Ok(Session { symbols, rom })
    }
}

/// A firmware while one dump is decoded with it.
pub(crate) struct Session<'a> {
    symbols: OpenSymbols<'a>,
    rom: Option<ElfCode<'a, 'a>>,
}

enum OpenSymbols<'a> {
    Index(&'a Index),
    Elf(Box<OpenElf<'a>>),
}

struct OpenElf<'a> {
    code: ElfCode<'a, 'a>,
    dwarf: Dwarf<'a, 'a>,
    facts: Facts,
    /// Of the units that contain the prepared addresses.
    sources: SourceTable,
}

impl<'a> OpenElf<'a> {
    fn new(elf: &'a Elf<'a>, elf_sha256: Sha256Digest) -> Result<Self, ElfError> {
        let code = ElfCode::of(elf);
        let mut dwarf = Dwarf::of(elf);
        let task_block = dwarf.task_block(code.functions())?;
        let regions = elf.sections.iter().map(|section| Region {
            name: section.name.to_owned(),
            address: section.address,
            size: section.size,
            executable: section.executable,
            writable: section.writable,
        });
        let facts = Facts {
            elf_sha256,
            task_block,
            regions: regions.collect(),
            has_lines: elf.debug_line,
            compressed: elf.compressed,
        };
        Ok(Self { code, dwarf, facts, sources: SourceTable::default() })
    }
}

impl Session<'_> {
    pub(crate) fn facts(&self) -> Facts {
        match &self.symbols {
            OpenSymbols::Index(index) => index.facts(),
            OpenSymbols::Elf(open) => open.facts.clone(),
        }
    }

    /// Reads the debugging information around these addresses. Call it once with all addresses,
    /// before looking up any of them.
    pub(crate) fn prepare(&mut self, addresses: &[u32]) -> Result<(), ElfError> {
        if let OpenSymbols::Elf(open) = &mut self.symbols {
            open.sources = open.dwarf.sources_of(addresses)?;
        }
        Ok(())
    }

    /// The functions at an address, innermost first; one without a name if nothing is known.
    pub(crate) fn locate(&self, address: u32) -> Vec<Located> {
        let mut found = look_up(self.sources(), address);
        if found.is_empty() {
            let symbol = self.symbol(address).or_else(|| self.in_rom(address));
            return vec![symbol.unwrap_or_default().into()];
        }
        if let Some(unnamed) = found.last_mut().filter(|last| last.source.function.is_none()) {
            unnamed.source.function = self.symbol(address).and_then(|symbol| symbol.function);
        }
        found
    }

    pub(crate) fn arguments(
        &self,
        scope: Option<u32>,
        frame: &Frame,
        memory: &Memory<'_>,
    ) -> Vec<Argument> {
        let parameters = scope.map(|scope| self.sources().parameters(scope)).unwrap_or_default();
        let argument = |parameter: &Parameter| {
            let name = self.string(parameter.name)?;
            let value_type = self.sources().value_type(parameter.value_type);
            Some(Argument { name, value: value_of(parameter, &value_type, frame, memory, self) })
        };
        parameters.iter().filter_map(argument).collect()
    }

    fn sources(&self) -> &dyn Sources {
        match &self.symbols {
            OpenSymbols::Index(index) => *index,
            OpenSymbols::Elf(open) => &open.sources,
        }
    }

    fn symbol(&self, address: u32) -> Option<Source> {
        let symbol = match &self.symbols {
            OpenSymbols::Index(index) => index.symbol_before(address)?,
            OpenSymbols::Elf(open) => open.code.symbol_before(address)?,
        };
        if let Some(function) = self.app().function_around(address) {
            return (symbol.start == function.start).then(|| named(symbol.name));
        }
        let near = symbol.absolute && is_rom(address) && address - symbol.start < MAX_DISTANCE;
        (near && self.rom.is_none())
            .then(|| Source { near: Some(symbol.name), ..Source::default() })
    }

    fn in_rom(&self, address: u32) -> Option<Source> {
        let rom = self.rom.as_ref()?;
        let function = rom.function_around(address)?;
        let symbol = rom.symbol_before(address).filter(|symbol| symbol.start == function.start)?;
        Some(named(symbol.name))
    }

    fn app(&self) -> &dyn Code {
        match &self.symbols {
            OpenSymbols::Index(index) => *index,
            OpenSymbols::Elf(open) => &open.code,
        }
    }
}

impl NameLookup for Session<'_> {
    fn string(&self, number: u32) -> Option<String> {
        self.sources().string(number).map(str::to_owned)
    }

    fn function_at(&self, address: u32) -> Option<String> {
        self.symbol(address).or_else(|| self.in_rom(address))?.function
    }
}

fn named(function: String) -> Source {
    Source { function: Some(function), ..Source::default() }
}

/// The code of the firmware. ROM code counts only where the firmware calls it and it returns.
impl Code for Session<'_> {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        let rom = || self.rom.as_ref().filter(|rom| rom.is_code(address));
        self.app().rule(address).or_else(|| rom()?.rule(address))
    }

    fn prologue(&self, address: u32) -> Option<UnwindRule> {
        self.rom.as_ref()?.prologue(address)
    }

    fn is_code(&self, address: u32) -> bool {
        self.app().is_code(address)
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let rom = || self.rom.as_ref()?.call_before(return_address);
        self.app().call_before(return_address).or_else(rom)
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        self.app().function_around(address)
    }

    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump> {
        self.app().jumps_out_of(function)
    }
}
