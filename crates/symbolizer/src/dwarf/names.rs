//! Names of functions, wherever the debugging information keeps them.

use std::collections::HashMap;

use gimli::constants as dw;
use gimli::{AttributeValue, DebugInfoOffset, UnitOffset};

use super::{Dwarf, Unit};
use crate::demangle::demangle;
use crate::sources::{NONE, SourceTable};

/// Entries that refer to each other, at most: declaration, abstract instance, concrete one.
const MOST_STEPS: usize = 16;

/// Names that were found, by unit and offset of the entry that has them.
#[derive(Default)]
pub(super) struct Names(HashMap<(usize, usize), u32>);

impl<'a> Dwarf<'a, '_> {
    /// The name of a function, as a string of the table.
    pub(super) fn name_of(
        &mut self,
        (mut unit_index, mut offset): (usize, UnitOffset),
        (names, table): (&mut Names, &mut SourceTable),
    ) -> u32 {
        let mut steps = Vec::new();
        let mut found = NONE;
        for _ in 0..MOST_STEPS {
            if let Some(known) = names.0.get(&(unit_index, offset.0)) {
                found = *known;
                break;
            }
            steps.push((unit_index, offset.0));
            let Some(unit) = self.unit(unit_index) else { break };
            match self.look(&unit, offset) {
                Some(Look::Name(name)) => {
                    found = table.add_string(&name);
                    break;
                }
                Some(Look::Within(next)) => offset = next,
                Some(Look::Elsewhere(next)) => {
                    let Some(index) = self.unit_index(next) else { break };
                    let Some(next) =
                        self.headers.get(index).and_then(|header| next.to_unit_offset(header))
                    else {
                        break;
                    };
                    (unit_index, offset) = (index, next);
                }
                None => break,
            }
        }
        names.0.extend(steps.into_iter().map(|step| (step, found)));
        found
    }

    fn look(&self, unit: &Unit<'a>, offset: UnitOffset) -> Option<Look> {
        let entry = unit.entry(offset).ok()?;
        let text = |name| {
            let value = entry.attr_value(name)?;
            let text = self.sections.attr_string(unit, value).ok()?;
            Some(text.slice())
        };
        let linkage = text(dw::DW_AT_linkage_name).or_else(|| text(dw::DW_AT_MIPS_linkage_name));
        if let Some(name) = linkage.or_else(|| {
            // The name alone lacks the namespace, which the linkage name elsewhere may tell.
            entry.attr(dw::DW_AT_specification).is_none().then(|| text(dw::DW_AT_name)).flatten()
        }) {
            return Some(Look::Name(demangle(name)));
        }
        let origin = entry
            .attr_value(dw::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(dw::DW_AT_specification))?;
        match origin {
            AttributeValue::UnitRef(offset) => Some(Look::Within(offset)),
            AttributeValue::DebugInfoRef(offset) => Some(Look::Elsewhere(offset)),
            _ => None,
        }
    }
}

/// What an entry says of the name.
enum Look {
    Name(String),
    /// Another entry of the unit tells.
    Within(UnitOffset),
    /// An entry of another unit tells.
    Elsewhere(DebugInfoOffset),
}
