//! The facts of an ELF that symbolication needs, in one byte string which is read in place.
//!
//! A header with the format, the SHA-256 of the ELF and the parts comes first, see [`mod@format`].
//! Whatever the bytes claim, one lookup reads at most a block of rows and a chain of inlined calls.

mod build;
mod format;
mod parameters;
mod rows;
mod rules;

use std::ops::Range;

use bytes::Bytes;
use coredock_domain::chip::Architecture;
use coredock_domain::digest::Sha256Digest;

use crate::code::{Call, Code, Jump, Symbol};
use crate::dwarf::TaskBlock;
use crate::elf::{UnwindRule, end_of};
use crate::facts::{Facts, Region};
use crate::parameters::{Parameter, ValueType};
use crate::sources::{NONE, Scope, SourceFile, SourceLine, Sources, string_in};
use crate::words::u32_at;

pub use build::build;
use format::{Header, Part};
pub use format::{INDEX_FORMAT, IndexError};
use rows::Rows;

#[derive(Debug, Clone)]
pub struct Index {
    bytes: Bytes,
    header: Header,
}

impl Index {
    /// Checks the header only.
    pub fn open(bytes: Bytes) -> Result<Self, IndexError> {
        let header = Header::read(&bytes)?;
        Ok(Self { bytes, header })
    }

    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The SHA-256 of the ELF it was made from.
    pub const fn elf_sha256(&self) -> Sha256Digest {
        self.header.elf_sha256
    }

    fn part(&self, part: Part) -> &[u8] {
        let range = self.header.part(part);
        self.bytes.get(range).unwrap_or_default()
    }

    fn rows<const N: usize>(&self, part: Part) -> Rows<'_, N> {
        Rows::of(self.part(part))
    }

    pub(crate) fn facts(&self) -> Facts {
        let words = |part| self.part(part).as_chunks::<4>().0;
        let word = |at: usize| words(Part::TaskBlock).get(at).map(|word| u32::from_le_bytes(*word));
        let known = |at| word(at).filter(|offset| *offset != NONE);
        let task_block = known(0).map(|top_of_stack| TaskBlock {
            top_of_stack,
            priority: word(1).unwrap_or_default(),
            stack: word(2).unwrap_or_default(),
            name: word(3).unwrap_or_default(),
            base_priority: known(4),
            end_of_stack: known(5),
            core: known(6),
        });
        let regions = self.part(Part::Regions).as_chunks::<16>().0.iter().filter_map(|region| {
            let flags = u32_at(region, 12)?;
            Some(Region {
                name: self.string(u32_at(region, 0)?)?.to_owned(),
                address: u32_at(region, 4)?,
                size: u32_at(region, 8)?,
                executable: flags & 1 != 0,
                writable: flags & 2 != 0,
            })
        });
        let flags = self.header.flags;
        Facts {
            elf_sha256: self.header.elf_sha256,
            task_block,
            regions: regions.collect(),
            has_lines: flags & format::HAS_LINES != 0,
            compressed: flags & format::COMPRESSED != 0,
        }
    }

    pub(crate) const fn architecture(&self) -> Architecture {
        self.header.architecture
    }

    /// The last symbol at or before an address.
    pub(crate) fn symbol_before(&self, address: u32) -> Option<Symbol> {
        let (start, [_, name]) = self.rows::<2>(Part::Functions).at(address)?;
        let absolute = name & ABSOLUTE != 0;
        let name = self.string(name & !ABSOLUTE)?.to_owned();
        Some(Symbol { start, name, absolute })
    }

    fn function(&self, address: u32) -> Option<(Range<u32>, bool)> {
        let rows = self.rows::<2>(Part::Functions);
        let (start, [size, name]) = rows.at(address)?;
        let next = rows.after(address).map_or(u32::MAX, |(next, _)| next);
        let end = end_of(start, size).min(next);
        (address < end).then_some((start..end, name & ABSOLUTE != 0))
    }
}

/// Jumps that are read for one function.
const MAX_JUMPS: usize = 4096;

/// Set in the number of a name that the linker script defines.
const ABSOLUTE: u32 = 1 << 31;

impl Code for Index {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        let (_, [place]) = self.rows::<1>(Part::Unwind).at(address)?;
        rules::read(self.part(Part::Rules), place)
    }

    fn is_code(&self, address: u32) -> bool {
        let ranges = self.part(Part::Code).as_chunks::<8>().0;
        ranges.iter().any(|range| {
            let (start, length) = (u32_at(range, 0), u32_at(range, 4));
            start.zip(length).is_some_and(|(start, length)| {
                address.checked_sub(start).is_some_and(|distance| distance < length)
            })
        })
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let (found, [target]) = self.rows::<1>(Part::Calls).at(return_address)?;
        let target = (target != NONE).then_some(target);
        (found == return_address).then_some(Call { return_address, target })
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        let (range, absolute) = self.function(address)?;
        (!absolute && self.is_code(address)).then_some(range)
    }

    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump> {
        let rows = self.rows::<1>(Part::Jumps);
        let from = rows.from(function.start.saturating_add(1));
        from.take_while(|(end, _)| *end <= function.end)
            .take(MAX_JUMPS)
            .map(|(end, [target])| Jump { end, target })
            .collect()
    }
}

impl Sources for Index {
    fn scope_at(&self, address: u32) -> Option<u32> {
        self.rows::<1>(Part::ScopeStarts).at(address).map(|(_, [scope])| scope)
    }

    fn scope(&self, number: u32) -> Option<Scope> {
        let (found, [name, parent, call_file, call_line]) =
            self.rows::<4>(Part::Scopes).at(number)?;
        (found == number).then_some(Scope { name, parent, call_file, call_line })
    }

    fn line_at(&self, address: u32) -> Option<SourceLine> {
        self.rows::<2>(Part::Lines).at(address).map(|(_, [file, line])| SourceLine { file, line })
    }

    fn file(&self, number: u32) -> Option<SourceFile> {
        let files = self.part(Part::Files).as_chunks::<8>().0;
        let file = files.get(usize::try_from(number).ok()?)?;
        Some(SourceFile { path: u32_at(file, 0)?, short: u32_at(file, 4)? })
    }

    fn string(&self, number: u32) -> Option<&str> {
        string_in(self.part(Part::Strings), number)
    }

    fn parameters(&self, scope: u32) -> Vec<Parameter> {
        let found = self.rows::<1>(Part::ParametersOf).at(scope);
        let place = found.filter(|(of, _)| *of == scope).map(|(_, [place])| place);
        let data =
            place.and_then(|place| self.part(Part::Parameters).get(usize::try_from(place).ok()?..));
        let described = self.part(Part::Descriptions).as_chunks().0;
        let found = data.and_then(|data| parameters::parameters_at(data, described));
        found.unwrap_or_default()
    }

    fn value_type(&self, number: u32) -> ValueType {
        let rows = self.part(Part::Types).as_chunks().0;
        let row = usize::try_from(number).ok().and_then(|number| rows.get(number));
        let names = self.part(Part::Enumerators).as_chunks().0;
        row.map_or(ValueType::Other, |row| parameters::read_type(*row, names))
    }
}
