//! Types of values.

use gimli::constants as dw;
use gimli::{AttributeValue, UnitOffset};

use super::{Dwarf, EntryId, Unit};
use crate::parameters::ValueType;
use crate::sources::{NONE, SourceTable};

/// Entries between a parameter and its type: typedefs, qualifiers.
const MAX_STEPS: usize = 16;
/// Of one enumeration.
const MAX_NAMES: usize = 256;

impl<'a> Dwarf<'a, '_> {
    /// The number of the type of an entry.
    pub(super) fn value_type_of(&mut self, entry: EntryId, table: &mut SourceTable) -> u32 {
        let Some(unit) = self.unit(entry.unit) else { return NONE };
        let value_type = type_of(&unit, entry.offset).map_or(ValueType::Other, |offset| {
            self.resolve(&unit, offset, table).unwrap_or(ValueType::Other)
        });
        table.add_type(value_type)
    }

    fn resolve(
        &self,
        unit: &Unit<'a>,
        mut offset: UnitOffset,
        table: &mut SourceTable,
    ) -> Option<ValueType> {
        for _ in 0..MAX_STEPS {
            let entry = unit.entry(offset).ok()?;
            let size = entry.attr(dw::DW_AT_byte_size).and_then(gimli::Attribute::udata_value);
            let size = size.and_then(|size| u8::try_from(size).ok());
            match entry.tag() {
                dw::DW_TAG_base_type => {
                    let encoding = entry.attr_value(dw::DW_AT_encoding)?;
                    let AttributeValue::Encoding(encoding) = encoding else { return None };
                    return basic(encoding, size?);
                }
                dw::DW_TAG_pointer_type
                | dw::DW_TAG_reference_type
                | dw::DW_TAG_rvalue_reference_type => {
                    return Some(pointer(unit, offset));
                }
                dw::DW_TAG_enumeration_type => {
                    let names = self.names_of(unit, offset, table);
                    return Some(ValueType::Enumeration { size: size?, names });
                }
                dw::DW_TAG_typedef
                | dw::DW_TAG_const_type
                | dw::DW_TAG_volatile_type
                | dw::DW_TAG_restrict_type
                | dw::DW_TAG_atomic_type => offset = type_of(unit, offset)?,
                _ => return None,
            }
        }
        None
    }

    fn names_of(
        &self,
        unit: &Unit<'a>,
        enumeration: UnitOffset,
        table: &mut SourceTable,
    ) -> Vec<(u32, u32)> {
        let mut names = Vec::new();
        let Ok(mut entries) = unit.entries_raw(Some(enumeration)) else { return names };
        while !entries.is_empty() && names.len() < MAX_NAMES {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            if depth <= 0 && offset != enumeration {
                break;
            }
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                break;
            }
            if abbreviation.tag() == dw::DW_TAG_enumerator {
                names.extend(self.enumerator(unit, offset, table));
            }
        }
        names
    }

    fn enumerator(
        &self,
        unit: &Unit<'a>,
        offset: UnitOffset,
        table: &mut SourceTable,
    ) -> Option<(u32, u32)> {
        let entry = unit.entry(offset).ok()?;
        let value = entry.attr(dw::DW_AT_const_value)?;
        let value = match value.udata_value() {
            Some(value) => u32::try_from(value).ok()?,
            None => i32::try_from(value.sdata_value()?).ok()?.cast_unsigned(),
        };
        let name = self.sections.attr_string(unit, entry.attr_value(dw::DW_AT_name)?).ok()?;
        Some((value, table.add_string(&String::from_utf8_lossy(name.slice()))))
    }
}

/// The entry that the type attribute refers to, in this unit.
fn type_of(unit: &Unit<'_>, offset: UnitOffset) -> Option<UnitOffset> {
    match unit.entry(offset).ok()?.attr_value(dw::DW_AT_type)? {
        AttributeValue::UnitRef(offset) => Some(offset),
        _ => None,
    }
}

/// A pointer is shown by the type it points to.
fn pointer(unit: &Unit<'_>, pointer: UnitOffset) -> ValueType {
    let mut of = type_of(unit, pointer);
    for _ in 0..MAX_STEPS {
        let Some(offset) = of else { break };
        let Ok(entry) = unit.entry(offset) else { break };
        match entry.tag() {
            dw::DW_TAG_subroutine_type => return ValueType::Function,
            dw::DW_TAG_base_type => {
                let character = matches!(
                    entry.attr_value(dw::DW_AT_encoding),
                    Some(AttributeValue::Encoding(
                        dw::DW_ATE_signed_char | dw::DW_ATE_unsigned_char
                    ))
                );
                return if character { ValueType::Text } else { ValueType::Pointer };
            }
            dw::DW_TAG_typedef | dw::DW_TAG_const_type | dw::DW_TAG_volatile_type => {
                of = type_of(unit, offset);
            }
            _ => break,
        }
    }
    ValueType::Pointer
}

fn basic(encoding: gimli::DwAte, size: u8) -> Option<ValueType> {
    match (encoding, size) {
        (dw::DW_ATE_boolean, 1) => Some(ValueType::Boolean),
        (dw::DW_ATE_signed_char, 1) => Some(ValueType::Character { signed: true }),
        (dw::DW_ATE_unsigned_char, 1) => Some(ValueType::Character { signed: false }),
        (dw::DW_ATE_signed | dw::DW_ATE_signed_char, 1 | 2 | 4 | 8) => {
            Some(ValueType::Signed(size))
        }
        (
            dw::DW_ATE_unsigned | dw::DW_ATE_unsigned_char | dw::DW_ATE_UTF | dw::DW_ATE_boolean,
            1 | 2 | 4 | 8,
        ) => Some(ValueType::Unsigned(size)),
        (dw::DW_ATE_float, 4 | 8) => Some(ValueType::Float(size)),
        _ => None,
    }
}
