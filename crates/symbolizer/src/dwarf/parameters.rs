//! Parameters of functions, and their locations.

use std::collections::HashMap;
use std::ops::Range;

use gimli::constants as dw;
use gimli::{Attribute, AttributeValue, Expression, Operation, UnitOffset};

use super::names::FunctionNames;
use super::scopes::Reading;
use super::{Dwarf, EntryId, Unit};
use crate::elf::{ElfError, Slice};
use crate::parameters::{Base, Location, MAX_PIECES, Parameter, Piece, Sum};
use crate::sources::{NONE, SourceTable};

/// Of one function.
const MAX_PARAMETERS: usize = 64;
/// Of one parameter.
const MAX_LOCATIONS: usize = 64;

/// Name and type of parameters that were looked up, by entry.
#[derive(Default)]
pub(super) struct Descriptions(HashMap<EntryId, (u32, u32)>);

impl<'a> Dwarf<'a, '_> {
    /// Adds the parameter of an entry to its scope, whose code is `ranges`.
    pub(super) fn read_parameter(
        &mut self,
        reading: &mut Reading<'_, 'a>,
        offset: UnitOffset,
        attributes: &[Attribute<Slice<'a>>],
        scope: u32,
        ranges: &[Range<u32>],
    ) -> Result<(), ElfError> {
        let Reading { index, unit, names, table, .. } = reading;
        if table.parameters.get(&scope).is_some_and(|known| known.len() >= MAX_PARAMETERS) {
            return Ok(());
        }
        let locations = self.locations(unit, attributes, ranges)?;
        let entry = EntryId { unit: *index, offset };
        // A parameter that the compiler added, such as `this`, has a name and is shown; one without
        // a name is not.
        let (name, value_type) = self.describe(entry, attributes, names, table);
        if name != NONE {
            table.parameters.entry(scope).or_default().push(Parameter {
                name,
                value_type,
                locations,
            });
        }
        Ok(())
    }

    /// Numbers of the name and of the type. Entries of inlined functions often refer to one entry
    /// with both.
    fn describe(
        &mut self,
        entry: EntryId,
        attributes: &[Attribute<Slice<'a>>],
        names: &mut FunctionNames,
        table: &mut SourceTable,
    ) -> (u32, u32) {
        let origin =
            attributes.iter().find(|attribute| attribute.name() == dw::DW_AT_abstract_origin);
        let described_at = match origin.map(Attribute::value) {
            Some(AttributeValue::UnitRef(offset)) => EntryId { offset, ..entry },
            _ => entry,
        };
        if let Some(known) = self.descriptions.0.get(&described_at) {
            return *known;
        }
        let name = self.name_of(described_at, names, table);
        let value_type = self.value_type_of(described_at, table);
        self.descriptions.0.insert(described_at, (name, value_type));
        (name, value_type)
    }

    fn locations(
        &mut self,
        unit: &Unit<'a>,
        attributes: &[Attribute<Slice<'a>>],
        ranges: &[Range<u32>],
    ) -> Result<Vec<(Range<u32>, Location)>, ElfError> {
        let value = |name| attributes.iter().find(|attribute| attribute.name() == name);
        let everywhere =
            |location: Location| ranges.iter().map(move |range| (range.clone(), location));
        if let Some(constant) = value(dw::DW_AT_const_value) {
            return Ok(constant_of(constant).into_iter().flat_map(everywhere).collect());
        }
        let Some(location) = value(dw::DW_AT_location) else { return Ok(Vec::new()) };
        if let AttributeValue::Exprloc(expression) = location.value() {
            let location = location_of(expression, unit);
            return Ok(location.into_iter().flat_map(everywhere).collect());
        }
        let Ok(Some(mut list)) = self.sections.attr_locations(unit, location.value()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        while let Ok(Some(entry)) = list.next() {
            self.budget.range()?;
            let range =
                u32::try_from(entry.range.begin).ok().zip(u32::try_from(entry.range.end).ok());
            let location = location_of(entry.data, unit);
            if let (Some((begin, end)), Some(location)) =
                (range.filter(|(begin, end)| begin < end), location)
                && found.len() < MAX_LOCATIONS
            {
                found.push((begin..end, location));
            }
        }
        Ok(found)
    }
}

fn constant_of(attribute: &Attribute<Slice<'_>>) -> Option<Location> {
    let value = match attribute.value() {
        AttributeValue::Sdata(value) => i32::try_from(value).ok()?,
        _ => u32::try_from(attribute.udata_value()?).ok()?.cast_signed(),
    };
    Some(Location { low: Piece::Value(Sum { base: Base::Nothing, offset: value }), high: None })
}

/// `None` for a value that is nowhere or is computed.
fn location_of(expression: Expression<Slice<'_>>, unit: &Unit<'_>) -> Option<Location> {
    let mut operations = expression.operations(unit.encoding());
    let mut pieces = Vec::new();
    let mut piece = None;
    while let Some(operation) = operations.next().ok()? {
        match operation {
            Operation::Piece { size_in_bits: 32, bit_offset: None } => {
                pieces.push(piece.take()?);
                if pieces.len() > MAX_PIECES {
                    return None;
                }
            }
            other => piece = Some(after(piece, &other)?),
        }
    }
    match (piece, &pieces[..]) {
        (Some(low), []) => Some(Location { low, high: None }),
        (None, [low, high]) => Some(Location { low: *low, high: Some(*high) }),
        _ => None,
    }
}

/// The location after one more operation.
fn after(before: Option<Piece>, operation: &Operation<Slice<'_>>) -> Option<Piece> {
    let register = |register: gimli::Register| u8::try_from(register.0).ok().filter(|n| *n < 32);
    let based = |base, offset: i64| Some(Sum { base, offset: i32::try_from(offset).ok()? });
    match (before, operation) {
        (None, Operation::Register { register: number }) => {
            Some(Piece::Value(based(Base::Register(register(*number)?), 0)?))
        }
        (None, Operation::RegisterOffset { register: number, offset, .. }) => {
            Some(Piece::Memory(based(Base::Register(register(*number)?), *offset)?))
        }
        // Compilers for these processors count frame offsets from the canonical frame address.
        (None, Operation::FrameOffset { offset }) => {
            Some(Piece::Memory(based(Base::Frame, *offset)?))
        }
        (None, Operation::CallFrameCFA) => Some(Piece::Memory(based(Base::Frame, 0)?)),
        (None, Operation::SignedConstant { value }) => {
            Some(Piece::Memory(based(Base::Nothing, *value)?))
        }
        (None, Operation::UnsignedConstant { value }) => {
            let value = u32::try_from(*value).ok()?.cast_signed();
            Some(Piece::Memory(Sum { base: Base::Nothing, offset: value }))
        }
        (None, Operation::Address { address }) => {
            let address = u32::try_from(*address).ok()?.cast_signed();
            Some(Piece::Memory(Sum { base: Base::Nothing, offset: address }))
        }
        (Some(Piece::Memory(sum)), Operation::PlusConstant { value }) => {
            let offset = sum.offset.checked_add(i32::try_from(*value).ok()?)?;
            Some(Piece::Memory(Sum { offset, ..sum }))
        }
        (Some(Piece::Memory(sum)), Operation::StackValue) => Some(Piece::Value(sum)),
        _ => None,
    }
}
