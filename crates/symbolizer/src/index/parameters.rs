//! Parameters of functions as bytes.
//!
//! For each function the number of its parameters. For each parameter the number of its description
//! (name and type), the number of its locations, and the locations: distance of the start from the
//! start of the location before, length, and one or two pieces. Numbers are LEB128.

use std::collections::{BTreeMap, HashMap};

use super::format::{Part, Parts};
use super::rows::{pack, read, unzigzag, write, zigzag};
use crate::parameters::{Base, Location, Parameter, Piece, Sum, ValueType};
use crate::words::u32_at;

/// Parameters of one function, and locations of one parameter.
const MAX_COUNT: u32 = 64;
/// Of the rows of descriptions, types and enumerators.
pub(super) const ROW_BYTES: usize = 8;

/// Bits of the byte of a piece: its base, whether the value is in memory, whether the offset is 0
/// and left out. [`TWO_PIECES`] takes the place of this byte if two pieces follow.
const NOTHING: u8 = 0;
const FRAME: u8 = 1;
const FIRST_REGISTER: u8 = 2;
const BASE: u8 = 0x3F;
const IN_MEMORY: u8 = 0x40;
const NO_OFFSET: u8 = 0x80;
const TWO_PIECES: u8 = 0xFF;

pub(super) fn pack_parameters(all: &BTreeMap<u32, Vec<Parameter>>, parts: &mut Parts) {
    let (mut rows, mut bytes, mut described) = (Vec::new(), Vec::new(), Descriptions::default());
    for (scope, parameters) in all {
        rows.push((*scope, [u32::try_from(bytes.len()).unwrap_or(u32::MAX)]));
        write_function(&mut bytes, parameters, &mut described);
    }
    parts.set(Part::ParametersOf, pack(rows));
    parts.set(Part::Parameters, bytes);
    parts.set(Part::Descriptions, described.bytes);
}

/// Pairs of name and type, each once.
#[derive(Default)]
struct Descriptions {
    bytes: Vec<u8>,
    numbers: HashMap<(u32, u32), u32>,
}

impl Descriptions {
    fn add(&mut self, name: u32, value_type: u32) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry((name, value_type)).or_insert_with(|| {
            self.bytes.extend(name.to_le_bytes());
            self.bytes.extend(value_type.to_le_bytes());
            next
        })
    }
}

fn write_function(bytes: &mut Vec<u8>, parameters: &[Parameter], described: &mut Descriptions) {
    write(bytes, u32::try_from(parameters.len()).unwrap_or_default().min(MAX_COUNT));
    let mut before = 0;
    for parameter in parameters.iter().take(MAX_COUNT as usize) {
        let count = u32::try_from(parameter.locations.len()).unwrap_or_default().min(MAX_COUNT);
        write(bytes, described.add(parameter.name, parameter.value_type));
        write(bytes, count);
        for (range, location) in parameter.locations.iter().take(MAX_COUNT as usize) {
            write(bytes, zigzag(range.start.wrapping_sub(before)));
            write(bytes, range.end.wrapping_sub(range.start));
            before = range.start;
            if location.high.is_some() {
                bytes.push(TWO_PIECES);
            }
            write_piece(bytes, location.low);
            if let Some(high) = location.high {
                write_piece(bytes, high);
            }
        }
    }
}

fn write_piece(bytes: &mut Vec<u8>, piece: Piece) {
    let (sum, in_memory) = match piece {
        Piece::Value(sum) => (sum, 0),
        Piece::Memory(sum) => (sum, IN_MEMORY),
    };
    let base = match sum.base {
        Base::Nothing => NOTHING,
        Base::Frame => FRAME,
        Base::Register(number) => FIRST_REGISTER + number.min(31),
    };
    if sum.offset == 0 {
        bytes.push(base | in_memory | NO_OFFSET);
    } else {
        bytes.push(base | in_memory);
        write(bytes, zigzag(sum.offset.cast_unsigned()));
    }
}

/// The parameters of one function; `None` if the bytes are inconsistent.
pub(super) fn parameters_at(
    mut data: &[u8],
    described: &[[u8; ROW_BYTES]],
) -> Option<Vec<Parameter>> {
    let count = read(&mut data).filter(|count| *count <= MAX_COUNT)?;
    let mut before = 0;
    (0..count).map(|_| read_parameter(&mut data, described, &mut before)).collect()
}

fn read_parameter(
    data: &mut &[u8],
    described: &[[u8; ROW_BYTES]],
    before: &mut u32,
) -> Option<Parameter> {
    let description = described.get(usize::try_from(read(data)?).ok()?)?;
    let (name, value_type) = (u32_at(description, 0)?, u32_at(description, 4)?);
    let count = read(data).filter(|count| *count <= MAX_COUNT)?;
    let mut locations = Vec::new();
    for _ in 0..count {
        let start = before.wrapping_add(unzigzag(read(data)?));
        let end = start.checked_add(read(data)?)?;
        *before = start;
        let two = data.first() == Some(&TWO_PIECES);
        *data = if two { data.get(1..)? } else { data };
        let low = read_piece(data)?;
        let high = if two { Some(read_piece(data)?) } else { None };
        locations.push((start..end, Location { low, high }));
    }
    Some(Parameter { name, value_type, locations })
}

fn read_piece(data: &mut &[u8]) -> Option<Piece> {
    let (code, rest) = data.split_first()?;
    *data = rest;
    let base = match code & BASE {
        NOTHING => Base::Nothing,
        FRAME => Base::Frame,
        register => Base::Register((register - FIRST_REGISTER).min(31)),
    };
    let offset = if code & NO_OFFSET == 0 { unzigzag(read(data)?).cast_signed() } else { 0 };
    let sum = Sum { base, offset };
    Some(if code & IN_MEMORY == 0 { Piece::Value(sum) } else { Piece::Memory(sum) })
}

pub(super) fn pack_types(types: &[ValueType]) -> (Vec<u8>, Vec<u8>) {
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    for value_type in types {
        let first = u32::try_from(names.len() / ROW_BYTES).unwrap_or(u32::MAX);
        let tag = match value_type {
            ValueType::Other => 0,
            ValueType::Unsigned(_) => 1,
            ValueType::Signed(_) => 2,
            ValueType::Boolean => 3,
            ValueType::Character { signed: false } => 4,
            ValueType::Character { signed: true } => 5,
            ValueType::Float(_) => 6,
            ValueType::Pointer => 7,
            ValueType::Text => 8,
            ValueType::Function => 9,
            ValueType::Enumeration { .. } => 10,
        };
        let mut count = 0_u16;
        if let ValueType::Enumeration { names: enumerators, .. } = value_type {
            count = u16::try_from(enumerators.len()).unwrap_or_default();
            for (value, name) in enumerators.iter().take(count.into()) {
                names.extend(value.to_le_bytes());
                names.extend(name.to_le_bytes());
            }
        }
        rows.extend([tag, value_type.size()]);
        rows.extend(count.to_le_bytes());
        rows.extend(first.to_le_bytes());
    }
    (rows, names)
}

pub(super) fn read_type(row: [u8; ROW_BYTES], names: &[[u8; ROW_BYTES]]) -> ValueType {
    let [tag, size, c0, c1, first @ ..] = row;
    match tag {
        1 => ValueType::Unsigned(size),
        2 => ValueType::Signed(size),
        3 => ValueType::Boolean,
        4 => ValueType::Character { signed: false },
        5 => ValueType::Character { signed: true },
        6 => ValueType::Float(size),
        7 => ValueType::Pointer,
        8 => ValueType::Text,
        9 => ValueType::Function,
        10 => {
            let first = usize::try_from(u32::from_le_bytes(first)).unwrap_or(usize::MAX);
            let count = usize::from(u16::from_le_bytes([c0, c1]));
            let enumerators = names.get(first..).unwrap_or_default().iter().take(count);
            let word = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
            let names =
                enumerators.map(|[a, b, c, d, rest @ ..]| (word([*a, *b, *c, *d]), word(*rest)));
            ValueType::Enumeration { size, names: names.collect() }
        }
        _ => ValueType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Parameter> {
        let sum = |base, offset| Sum { base, offset };
        let low = Piece::Value(sum(Base::Register(10), 0));
        let memory = Piece::Memory(sum(Base::Frame, -20));
        let constant = Piece::Value(sum(Base::Nothing, i32::MIN));
        vec![
            Parameter { name: 7, value_type: 0, locations: vec![] },
            Parameter {
                name: 90_000,
                value_type: 3,
                locations: vec![
                    (0x4200_0000..0x4200_0010, Location { low, high: None }),
                    (0x4200_0010..0x4200_0200, Location { low: memory, high: Some(low) }),
                ],
            },
            Parameter {
                name: 1,
                value_type: 2,
                locations: vec![(0x4000_0000..0x4000_0001, Location { low: constant, high: None })],
            },
        ]
    }

    #[test]
    fn parameters_are_read_back_and_truncated_bytes_are_refused() {
        let (mut bytes, mut described) = (Vec::new(), Descriptions::default());
        write_function(&mut bytes, &example(), &mut described);
        let described = described.bytes.as_chunks().0;
        assert_eq!(parameters_at(&bytes, described), Some(example()));
        assert_eq!(parameters_at(&bytes, &described[1..]), None);
        for length in 0..bytes.len() {
            assert_eq!(parameters_at(&bytes[..length], described), None);
        }
    }

    #[test]
    fn types_are_read_back() {
        let types = vec![
            ValueType::Other,
            ValueType::Signed(8),
            ValueType::Enumeration { size: 4, names: vec![(0, 5), (u32::MAX, 9)] },
            ValueType::Enumeration { size: 1, names: vec![(3, 7)] },
            ValueType::Character { signed: true },
            ValueType::Text,
        ];
        let (rows, names) = pack_types(&types);
        let names = names.as_chunks::<ROW_BYTES>().0;
        let found = rows.as_chunks().0.iter().map(|row| read_type(*row, names));
        assert_eq!(found.collect::<Vec<_>>(), types);
    }
}
