//! Names of functions, which may be in entries of other units.

use std::collections::HashMap;

use gimli::constants as dw;
use gimli::{AttributeValue, DebugInfoOffset, UnitOffset};

use super::{Dwarf, EntryId, Unit};
use crate::demangle::demangle;
use crate::sources::{NONE, SourceTable};

/// Entries that refer to each other: declaration, abstract instance, concrete instance.
const MAX_STEPS: usize = 16;

/// Names that were found, by entry.
#[derive(Default)]
pub(super) struct FunctionNames(HashMap<EntryId, u32>);

impl<'a> Dwarf<'a, '_> {
    /// The name of a function, as the number of a string of the table.
    pub(super) fn name_of(
        &mut self,
        mut entry: EntryId,
        names: &mut FunctionNames,
        table: &mut SourceTable,
    ) -> u32 {
        let mut steps = Vec::new();
        let mut found = NONE;
        for _ in 0..MAX_STEPS {
            if let Some(known) = names.0.get(&entry) {
                found = *known;
                break;
            }
            steps.push(entry);
            let Some(unit) = self.unit(entry.unit) else { break };
            match self.name_source(&unit, entry.offset) {
                Some(NameSource::Name(name)) => {
                    found = table.add_string(&name);
                    break;
                }
                Some(NameSource::Within(next)) => entry.offset = next,
                Some(NameSource::Elsewhere(next)) => {
                    let Some(next) = self.entry_at(next) else { break };
                    entry = next;
                }
                None => break,
            }
        }
        names.0.extend(steps.into_iter().map(|step| (step, found)));
        found
    }

    fn entry_at(&self, offset: DebugInfoOffset) -> Option<EntryId> {
        let unit = self.unit_index(offset)?;
        let offset = offset.to_unit_offset(self.headers.get(unit)?)?;
        Some(EntryId { unit, offset })
    }

    fn name_source(&self, unit: &Unit<'a>, offset: UnitOffset) -> Option<NameSource> {
        let entry = unit.entry(offset).ok()?;
        let text = |name| {
            let value = entry.attr_value(name)?;
            let text = self.sections.attr_string(unit, value).ok()?;
            Some(text.slice())
        };
        let linkage = text(dw::DW_AT_linkage_name).or_else(|| text(dw::DW_AT_MIPS_linkage_name));
        if let Some(name) = linkage.or_else(|| {
            // The name alone lacks the namespace, which the linkage name in the other entry has.
            entry.attr(dw::DW_AT_specification).is_none().then(|| text(dw::DW_AT_name)).flatten()
        }) {
            return Some(NameSource::Name(demangle(name)));
        }
        let origin = entry
            .attr_value(dw::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(dw::DW_AT_specification))?;
        match origin {
            AttributeValue::UnitRef(offset) => Some(NameSource::Within(offset)),
            AttributeValue::DebugInfoRef(offset) => Some(NameSource::Elsewhere(offset)),
            _ => None,
        }
    }
}

/// Where the name of an entry is.
enum NameSource {
    Name(String),
    /// In another entry of this unit.
    Within(UnitOffset),
    /// In an entry of another unit.
    Elsewhere(DebugInfoOffset),
}
