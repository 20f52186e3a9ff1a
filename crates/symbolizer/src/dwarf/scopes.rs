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

#[derive(Clone, Copy, PartialEq, Eq)]
enum ScopeKind {
    Function,
    /// The number of the scope around it; `None` if that scope has no code.
    InlinedInto(Option<u32>),
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
                let around = open.last().filter(|_| inlined);
                let kind = if inlined {
                    ScopeKind::InlinedInto(around.and_then(|around| around.scope))
                } else {
                    ScopeKind::Function
                };
                let (scope, ranges) = self.read_scope(reading, offset, &attributes, kind)?;
                let inner = around.map_or(0, |around| around.inner);
                let with_parameters = scope.filter(|_| self.wants_parameters(&ranges));
                placed.extend(scope.into_iter().flat_map(|scope| {
                    let place = move |range: &Range<u32>| ScopeRange {
                        start: range.start,
                        end: range.end,
                        depth: inner,
                        scope,
                    };
                    ranges.iter().map(place).collect::<Vec<_>>()
                }));
                let with_parameters = with_parameters.map(|_| ranges);
                open.push(OpenScope { depth, scope, inner: inner + 1, with_parameters });
            }
        }
        flatten(placed, |address, scope| reading.table.add_scope_start(address, scope));
        Ok(())
    }

    /// The number of the scope, if it has code and a place, and the ranges of its code.
    fn read_scope(
        &mut self,
        reading: &mut Reading<'_, 'a>,
        offset: UnitOffset,
        attributes: &[Attribute<Slice<'a>>],
        kind: ScopeKind,
    ) -> Result<(Option<u32>, Vec<Range<u32>>), ElfError> {
        let ranges = self.ranges(reading.unit, attributes)?;
        if ranges.is_empty() || kind == ScopeKind::InlinedInto(None) {
            return Ok((None, ranges));
        }
        let Reading { index, unit, files, names, table } = reading;
        let name = self.name_of(EntryId { unit: *index, offset }, names, table);
        let mut scope = Scope { name, parent: NONE, call_file: NONE, call_line: 0 };
        if let ScopeKind::InlinedInto(Some(parent)) = kind {
            let call = Call::of(attributes);
            scope.parent = parent;
            scope.call_line = call.line;
            scope.call_file =
                call.file.map_or(NONE, |index| files.number(index, &self.sections, unit, table));
        }
        Ok((Some(table.add_scope(scope)), ranges))
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
