//! The debugging information of an ELF (DWARF, versions 2 to 5).
//!
//! It comes from an untrusted file. Nothing here recurses into it, and everything is counted: more
//! than any compiler writes is [`ElfError::Excessive`].

mod lines;
mod names;
mod parameters;
mod ranges;
mod scopes;
mod task_block;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use gimli::{AbbreviationsCacheStrategy, DebugInfoOffset, UnitHeader, UnitOffset};

use crate::elf::{Elf, ElfError, Slice};
use crate::sources::SourceTable;

pub(crate) use task_block::{TaskBlock, common_layout};

const MAX_ENTRIES: usize = 20_000_000;
/// Real firmware has 8 to 10 levels.
const MAX_DEPTH: isize = 256;
/// Ranges of addresses.
const MAX_RANGES: usize = 2_000_000;
/// Rows of line tables.
const MAX_ROWS: usize = 20_000_000;
/// Units that stay in memory because other units refer to them.
const MAX_CACHED_UNITS: usize = 16;
const MAX_UNITS: usize = 200_000;

type Unit<'a> = gimli::Unit<Slice<'a>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EntryId {
    /// Index of its unit.
    unit: usize,
    offset: UnitOffset,
}

pub(crate) struct Dwarf<'a, 'elf> {
    elf: &'elf Elf<'a>,
    sections: gimli::Dwarf<Slice<'a>>,
    /// In the order of the section.
    headers: Vec<UnitHeader<Slice<'a>>>,
    /// By index; `None` for a damaged unit.
    units: HashMap<usize, Option<Rc<Unit<'a>>>>,
    descriptions: parameters::Descriptions,
    /// Only functions around these addresses get parameters; `None` means all functions.
    with_parameters: Option<Vec<u32>>,
    budget: Budget,
}

/// How much may still be read.
struct Budget {
    entries: usize,
    ranges: usize,
    rows: usize,
}

impl Budget {
    fn take(counted: &mut usize, of: &'static str) -> Result<(), ElfError> {
        *counted = counted.checked_sub(1).ok_or(ElfError::Excessive(of))?;
        Ok(())
    }

    fn entry(&mut self, depth: isize) -> Result<(), ElfError> {
        if depth > MAX_DEPTH {
            return Err(ElfError::Excessive("entries nested deeper than 256"));
        }
        Self::take(&mut self.entries, "more than 20 million entries")
    }

    fn range(&mut self) -> Result<(), ElfError> {
        Self::take(&mut self.ranges, "more than 2 million ranges")
    }

    fn row(&mut self) -> Result<(), ElfError> {
        Self::take(&mut self.rows, "more than 20 million rows of lines")
    }
}

impl<'a, 'elf> Dwarf<'a, 'elf> {
    /// Reads the headers of the units.
    pub(crate) fn of(elf: &'elf Elf<'a>) -> Self {
        let mut sections = elf.dwarf();
        // Abbreviations that several units share are read once.
        sections.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let mut headers = Vec::new();
        let mut units = sections.units();
        while let Ok(Some(header)) = units.next() {
            headers.push(header);
            if headers.len() >= MAX_UNITS {
                break;
            }
        }
        let budget = Budget { entries: MAX_ENTRIES, ranges: MAX_RANGES, rows: MAX_ROWS };
        let (units, descriptions) = (HashMap::new(), parameters::Descriptions::default());
        Self { elf, sections, headers, units, descriptions, with_parameters: None, budget }
    }

    pub(crate) fn all_sources(&mut self) -> Result<SourceTable, ElfError> {
        self.sources(0..self.headers.len())
    }

    /// Functions and lines of the units that contain these addresses.
    pub(crate) fn sources_of(&mut self, addresses: &[u32]) -> Result<SourceTable, ElfError> {
        let units = self.units_of(addresses)?;
        self.with_parameters = Some(addresses.to_vec());
        self.sources(units)
    }

    fn sources(&mut self, units: impl IntoIterator<Item = usize>) -> Result<SourceTable, ElfError> {
        let mut table = SourceTable::default();
        let mut names = names::FunctionNames::default();
        for index in units {
            let Some(unit) = self.unit(index) else { continue };
            let mut files = lines::Files::of(&unit);
            self.read_lines(&unit, &mut files, &mut table)?;
            let (files, names, table) = (&mut files, &mut names, &mut table);
            self.read_scopes(&mut scopes::Reading { index, unit: &unit, files, names, table })?;
            // A unit is needed once, unless others refer to it; keeping all would fill the memory.
            self.units.remove(&index);
            if self.units.len() > MAX_CACHED_UNITS {
                self.units.clear();
            }
        }
        table.sort();
        Ok(table)
    }

    /// `None` if the unit is damaged.
    fn unit(&mut self, index: usize) -> Option<Rc<Unit<'a>>> {
        if let Some(unit) = self.units.get(&index) {
            return unit.clone();
        }
        let header = self.headers.get(index)?;
        let unit = self.sections.unit(*header).ok().map(Rc::new);
        self.units.insert(index, unit.clone());
        unit
    }

    /// The unit that contains an offset into the section.
    fn unit_index(&self, offset: DebugInfoOffset) -> Option<usize> {
        let after = self.headers.partition_point(|header| header.offset().0 <= offset.0);
        after.checked_sub(1)
    }

    /// The units that contain these addresses.
    fn units_of(&mut self, addresses: &[u32]) -> Result<Vec<usize>, ElfError> {
        let mut by_unit = self.ranges_by_unit();
        let mut units = Vec::new();
        for index in 0..self.headers.len() {
            let ranges = match by_unit.remove(&index) {
                Some(ranges) => ranges,
                None => self.unit_ranges(index)?,
            };
            let contains = |address: &u32| ranges.iter().any(|range| range.contains(address));
            if addresses.iter().any(contains) {
                units.push(index);
            }
        }
        Ok(units)
    }

    /// The ranges in `.debug_aranges`, by unit. Not every compiler writes this section.
    fn ranges_by_unit(&self) -> BTreeMap<usize, Vec<Range<u32>>> {
        let mut by_unit: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        let mut headers = self.sections.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let Some(index) = self.unit_index(header.debug_info_offset()) else { continue };
            let ranges = by_unit.entry(index).or_default();
            let mut entries = header.entries();
            while let Ok(Some(entry)) = entries.next() {
                ranges.extend(
                    self.in_code(entry.address(), entry.address().checked_add(entry.length())),
                );
            }
        }
        by_unit
    }

    fn unit_ranges(&mut self, index: usize) -> Result<Vec<Range<u32>>, ElfError> {
        let Some(unit) = self.unit(index) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let Ok(mut ranges) = self.sections.unit_ranges(&unit) else { return Ok(found) };
        while let Ok(Some(range)) = ranges.next() {
            self.budget.range()?;
            found.extend(self.in_code(range.begin, Some(range.end)));
        }
        self.units.remove(&index);
        Ok(found)
    }

    /// The range if it contains instructions: functions that the linker removed have other
    /// addresses.
    fn in_code(&self, begin: u64, end: Option<u64>) -> Option<Range<u32>> {
        let (begin, end) = (u32::try_from(begin).ok()?, u32::try_from(end?).ok()?);
        let code = |address: u32| self.elf.code_from(address).is_some();
        (begin < end && code(begin)).then_some(begin..end)
    }
}
