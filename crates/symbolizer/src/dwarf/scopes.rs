//! Functions and the calls inlined into them.

use std::ops::Range;

use gimli::constants as dw;
use gimli::{Attribute, AttributeValue};

use super::lines::Files;
use super::names::Names;
use super::ranges::{ScopeRange, flatten};
use super::{Dwarf, Unit};
use crate::elf::{ElfError, Slice};
use crate::sources::{NONE, Scope, SourceTable};

/// A scope whose children are being read.
struct Open {
    depth: isize,
    /// `None` for a function that is only described, not placed.
    scope: Option<u32>,
    /// Number of scopes around its children.
    inner: u32,
}

impl<'a> Dwarf<'a, '_> {
    pub(super) fn read_scopes(
        &mut self,
        (index, unit): (usize, &Unit<'a>),
        files: &mut Files,
        (names, table): (&mut Names, &mut SourceTable),
    ) -> Result<(), ElfError> {
        let mut placed = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut attributes = Vec::new();
        let Ok(mut entries) = unit.entries_raw(None) else { return Ok(()) };
        while !entries.is_empty() {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            self.budget.entry(depth)?;
            // What is behind damage cannot be found.
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            while open.pop_if(|open| open.depth >= depth).is_some() {}
            let inlined = abbreviation.tag() == dw::DW_TAG_inlined_subroutine;
            if !inlined && abbreviation.tag() != dw::DW_TAG_subprogram {
                if entries.skip_attributes(abbreviation.attributes()).is_err() {
                    break;
                }
                continue;
            }
            if entries.read_attributes(abbreviation.attributes(), &mut attributes).is_err() {
                break;
            }
            let around = open.last().filter(|_| inlined);
            let (parent, around_count) =
                around.map_or((None, 0), |around| (around.scope, around.inner));
            let ranges = self.ranges(unit, &attributes)?;
            let scope = if ranges.is_empty() || (inlined && parent.is_none()) {
                None
            } else {
                let name = self.name_of((index, offset), (names, table));
                let call = inlined.then(|| Call::of(&attributes));
                let file = call.as_ref().and_then(|call| call.file);
                let unit = (&self.sections, unit);
                let scope = Scope {
                    name,
                    parent: parent.unwrap_or(NONE),
                    call_file: file.map_or(NONE, |index| files.number(index, unit, table)),
                    call_line: call.map_or(0, |call| call.line),
                };
                Some(table.add_scope(scope))
            };
            if let Some(scope) = scope {
                let placed_at =
                    |Range { start, end }| ScopeRange { start, end, depth: around_count, scope };
                placed.extend(ranges.into_iter().map(placed_at));
            }
            open.push(Open { depth, scope, inner: around_count + 1 });
        }
        flatten(placed, |address, scope| table.add_segment(address, scope));
        Ok(())
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

/// Where an inlined function was called.
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
