//! Parameters of functions, and where they are.

use std::collections::HashMap;
use std::ops::Range;

use gimli::constants as dw;
use gimli::{Attribute, AttributeValue, Expression, Operation, UnitOffset};

use super::names::Names;
use super::scopes::Reading;
use super::{Dwarf, EntryId, Unit};
use crate::elf::{ElfError, Slice};
use crate::parameters::{Base, MOST_PIECES, Parameter, Piece, Place, Sum};
use crate::sources::{NONE, SourceTable};

/// Parameters of a function, at most.
const MOST_PARAMETERS: usize = 64;
/// Places of one parameter.
const MOST_PLACES: usize = 64;

/// Name and type of parameters that were looked up, by the entry that has them.
#[derive(Default)]
pub(super) struct Described(HashMap<EntryId, (u32, u32)>);

impl<'a> Dwarf<'a, '_> {
    /// Adds the parameter that an entry describes to its scope, whose code is `ranges`.
    pub(super) fn read_parameter(
        &mut self,
        reading: &mut Reading<'_, 'a>,
        offset: UnitOffset,
        attributes: &[Attribute<Slice<'a>>],
        scope: u32,
        ranges: &[Range<u32>],
    ) -> Result<(), ElfError> {
        let Reading { index, unit, names, table, .. } = reading;
        if table.parameters.get(&scope).is_some_and(|known| known.len() >= MOST_PARAMETERS) {
            return Ok(());
        }
        let places = self.places(unit, attributes, ranges)?;
        let entry = EntryId { unit: *index, offset };
        // What a compiler adds, as `this`, is one too; what has no name is not.
        let (name, kind) = self.describe(entry, attributes, names, table);
        if name != NONE {
            table.parameters.entry(scope).or_default().push(Parameter { name, kind, places });
        }
        Ok(())
    }

    /// String of the name, number of the type. What is inlined often says so elsewhere, once.
    fn describe(
        &mut self,
        entry: EntryId,
        attributes: &[Attribute<Slice<'a>>],
        names: &mut Names,
        table: &mut SourceTable,
    ) -> (u32, u32) {
        let origin =
            attributes.iter().find(|attribute| attribute.name() == dw::DW_AT_abstract_origin);
        let described_at = match origin.map(Attribute::value) {
            Some(AttributeValue::UnitRef(offset)) => EntryId { offset, ..entry },
            _ => entry,
        };
        if let Some(known) = self.described.0.get(&described_at) {
            return *known;
        }
        let name = self.name_of(described_at, names, table);
        let kind = self.kind_of(described_at, table);
        self.described.0.insert(described_at, (name, kind));
        (name, kind)
    }

    fn places(
        &mut self,
        unit: &Unit<'a>,
        attributes: &[Attribute<Slice<'a>>],
        ranges: &[Range<u32>],
    ) -> Result<Vec<(Range<u32>, Place)>, ElfError> {
        let value = |name| attributes.iter().find(|attribute| attribute.name() == name);
        let everywhere = |place: Place| ranges.iter().map(move |range| (range.clone(), place));
        if let Some(constant) = value(dw::DW_AT_const_value) {
            return Ok(constant_of(constant).into_iter().flat_map(everywhere).collect());
        }
        let Some(location) = value(dw::DW_AT_location) else { return Ok(Vec::new()) };
        if let AttributeValue::Exprloc(expression) = location.value() {
            let place = place_of(expression, unit);
            return Ok(place.into_iter().flat_map(everywhere).collect());
        }
        let Ok(Some(mut list)) = self.sections.attr_locations(unit, location.value()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        while let Ok(Some(entry)) = list.next() {
            self.budget.range()?;
            let range =
                u32::try_from(entry.range.begin).ok().zip(u32::try_from(entry.range.end).ok());
            let place = place_of(entry.data, unit);
            if let (Some((begin, end)), Some(place)) =
                (range.filter(|(begin, end)| begin < end), place)
                && found.len() < MOST_PLACES
            {
                found.push((begin..end, place));
            }
        }
        Ok(found)
    }
}

fn constant_of(attribute: &Attribute<Slice<'_>>) -> Option<Place> {
    let value = match attribute.value() {
        AttributeValue::Sdata(value) => i32::try_from(value).ok()?,
        _ => u32::try_from(attribute.udata_value()?).ok()?.cast_signed(),
    };
    Some(Place { low: Piece::Value(Sum { base: Base::Nothing, offset: value }), high: None })
}

/// `None` for what is nowhere, or is computed.
fn place_of(expression: Expression<Slice<'_>>, unit: &Unit<'_>) -> Option<Place> {
    let mut operations = expression.operations(unit.encoding());
    let mut pieces = Vec::new();
    let mut piece = None;
    while let Some(operation) = operations.next().ok()? {
        match operation {
            Operation::Piece { size_in_bits: 32, bit_offset: None } => {
                pieces.push(piece.take()?);
                if pieces.len() > MOST_PIECES {
                    return None;
                }
            }
            other => piece = Some(after(piece, &other)?),
        }
    }
    match (piece, &pieces[..]) {
        (Some(low), []) => Some(Place { low, high: None }),
        (None, [low, high]) => Some(Place { low: *low, high: Some(*high) }),
        _ => None,
    }
}

/// What one more operation makes of a place.
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
        // Compilers for these processors count from the canonical frame address.
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
