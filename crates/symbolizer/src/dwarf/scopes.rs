//! Functions and the calls inlined into them.

use std::ops::Range;

use gimli::constants as dw;
use gimli::{Attribute, AttributeValue, UnitOffset};

use super::lines::Files;
use super::names::FunctionNames;
use super::ranges::{ScopeRange, flatten};
use super::{Dwarf, EntryId, Unit};
use crate::elf::{ElfError, Slice};
use crate::sources::{NONE, Scope, SourceTable};

/// A scope whose children are being read.
struct OpenScope {
    depth: isize,
    /// `None` for a function that is declared, but has no code.
    scope: Option<u32>,
    /// Number of scopes around its children.
    inner: u32,
    /// Its code, if its parameters are to be read.
    with_parameters: Option<Vec<Range<u32>>>,
}

/// An entry for a function, or for a call inlined into one.
struct FunctionEntry<'e, 'a> {
    depth: isize,
    offset: UnitOffset,
    inlined: bool,
    attributes: &'e [Attribute<Slice<'a>>],
}

/// The unit that is being read, and where the results go.
pub(super) struct Reading<'r, 'a> {
    pub(super) index: usize,
    pub(super) unit: &'r Unit<'a>,
    pub(super) files: &'r mut Files,
    pub(super) names: &'r mut FunctionNames,
    pub(super) table: &'r mut SourceTable,
}

impl<'a> Dwarf<'a, '_> {
    pub(super) fn read_scopes(&mut self, reading: &mut Reading<'_, 'a>) -> Result<(), ElfError> {
        let mut placed = Vec::new();
        let mut open: Vec<OpenScope> = Vec::new();
        let mut attributes = Vec::new();
        let Ok(mut entries) = reading.unit.entries_raw(None) else { return Ok(()) };
        while !entries.is_empty() {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            self.budget.entry(depth)?;
            // Entries after a damaged one cannot be found.
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            while open.pop_if(|open| open.depth >= depth).is_some() {}
            let tag = abbreviation.tag();
            let function = matches!(tag, dw::DW_TAG_subprogram | dw::DW_TAG_inlined_subroutine);
            let parameter_of = open
                .last()
                .filter(|open| tag == dw::DW_TAG_formal_parameter && open.depth + 1 == depth);
            let parameter_of =
                parameter_of.and_then(|open| Some((open.scope?, open.with_parameters.as_deref()?)));
            if !function && parameter_of.is_none() {
                if entries.skip_attributes(abbreviation.attributes()).is_err() {
                    break;
                }
                continue;
            }
            if entries.read_attributes(abbreviation.attributes(), &mut attributes).is_err() {
                break;
            }
            if let Some((scope, ranges)) = parameter_of {
                self.read_parameter(reading, offset, &attributes, scope, ranges)?;
            } else {
                let inlined = tag == dw::DW_TAG_inlined_subroutine;
                let outer = open.last().filter(|_| inlined);
                let entry = FunctionEntry { depth, offset, inlined, attributes: &attributes };
                let scope = self.read_function(reading, &entry, outer, &mut placed)?;
                open.push(scope);
            }
        }
        flatten(placed, |address, scope| reading.table.add_scope_start(address, scope));
        Ok(())
    }

    /// Adds the scope of the entry to the table, and its code to `placed`.
    fn read_function(
        &mut self,
        reading: &mut Reading<'_, 'a>,
        entry: &FunctionEntry<'_, 'a>,
        outer: Option<&OpenScope>,
        placed: &mut Vec<ScopeRange>,
    ) -> Result<OpenScope, ElfError> {
        let ranges = self.ranges(reading.unit, entry.attributes)?;
        let parent = outer.and_then(|outer| outer.scope);
        // An inlined call needs a function around it that has code.
        let has_code = !ranges.is_empty() && (!entry.inlined || parent.is_some());
        let scope = has_code.then(|| self.add_scope(reading, entry, parent));
        let depth = outer.map_or(0, |outer| outer.inner);
        placed.extend(scope.iter().flat_map(|scope| {
            ranges.iter().map(move |range| ScopeRange {
                start: range.start,
                end: range.end,
                depth,
                scope: *scope,
            })
        }));
        let wanted = has_code && self.wants_parameters(&ranges);
        let with_parameters = wanted.then_some(ranges);
        Ok(OpenScope { depth: entry.depth, scope, inner: depth + 1, with_parameters })
    }

    fn add_scope(
        &mut self,
        reading: &mut Reading<'_, 'a>,
        entry: &FunctionEntry<'_, 'a>,
        parent: Option<u32>,
    ) -> u32 {
        let Reading { index, unit, files, names, table } = reading;
        let id = EntryId { unit: *index, offset: entry.offset };
        let name = self.name_of(id, names, table);
        let mut scope = Scope { name, parent: NONE, call_file: NONE, call_line: 0 };
        if let Some(parent) = parent {
            let call = Call::of(entry.attributes);
            scope.parent = parent;
            scope.call_line = call.line;
            scope.call_file =
                call.file.map_or(NONE, |index| files.number(index, &self.sections, unit, table));
        }
        table.add_scope(scope)
    }

    fn wants_parameters(&self, ranges: &[Range<u32>]) -> bool {
        let around = |address: &u32| ranges.iter().any(|range| range.contains(address));
        self.with_parameters.as_ref().is_none_or(|addresses| addresses.iter().any(around))
    }

    fn ranges(
        &mut self,
        unit: &Unit<'a>,
        attributes: &[Attribute<Slice<'a>>],
    ) -> Result<Vec<Range<u32>>, ElfError> {
        let mut found = Vec::new();
        let value = |name| attributes.iter().find(|attribute| attribute.name() == name);
        if let Some(ranges) = value(dw::DW_AT_ranges) {
            let ranges = self.sections.attr_ranges(unit, ranges.value());
            let Ok(Some(mut ranges)) = ranges else { return Ok(found) };
            while let Ok(Some(range)) = ranges.next() {
                self.budget.range()?;
                found.extend(self.in_code(range.begin, Some(range.end)));
            }
            return Ok(found);
        }
        let (Some(low), Some(high)) = (value(dw::DW_AT_low_pc), value(dw::DW_AT_high_pc)) else {
            return Ok(found);
        };
        let Ok(Some(begin)) = self.sections.attr_address(unit, low.value()) else {
            return Ok(found);
        };
        let end = match high.value() {
            AttributeValue::Udata(length) => begin.checked_add(length),
            value => match self.sections.attr_address(unit, value) {
                Ok(Some(end)) => Some(end),
                _ => high.udata_value().and_then(|length| begin.checked_add(length)),
            },
        };
        self.budget.range()?;
        found.extend(self.in_code(begin, end));
        Ok(found)
    }
}

struct Call {
    /// Number within the unit.
    file: Option<u64>,
    line: u32,
}

impl Call {
    fn of(attributes: &[Attribute<Slice<'_>>]) -> Self {
        let value = |name| {
            let attribute = attributes.iter().find(|attribute| attribute.name() == name);
            attribute.and_then(|attribute| match attribute.value() {
                AttributeValue::FileIndex(index) => Some(index),
                _ => attribute.udata_value(),
            })
        };
        let line = value(dw::DW_AT_call_line).and_then(|line| u32::try_from(line).ok());
        Self { file: value(dw::DW_AT_call_file), line: line.unwrap_or_default() }
    }
}
