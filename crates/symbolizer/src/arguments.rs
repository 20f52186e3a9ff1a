//! The values of the arguments of a function on a stack, printed as debuggers do.

use crate::dump::Memory;
use crate::parameters::{Base, Location, Parameter, Piece, Sum, ValueType};
use crate::unwind::Frame;

/// Longest text that is shown for a pointer to characters, as in debuggers.
const MAX_TEXT_BYTES: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub value: ArgumentValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentValue {
    /// Printed by its type; `...` for a structure.
    Known(String),
    /// The compiler stored it nowhere.
    OptimizedOut,
    /// It is in a register or in memory that the dump does not contain.
    Unreadable,
}

/// Looks up the names of enumerators, and of functions that pointers lead to.
pub(crate) trait NameLookup {
    fn string(&self, number: u32) -> Option<String>;
    fn function_at(&self, address: u32) -> Option<String>;
}

/// The value of a parameter in a frame.
pub(crate) fn value_of(
    parameter: &Parameter,
    value_type: &ValueType,
    frame: &Frame,
    memory: &Memory<'_>,
    names: &dyn NameLookup,
) -> ArgumentValue {
    if *value_type == ValueType::Other {
        return ArgumentValue::Known("...".to_owned());
    }
    let Some(location) = parameter.location_at(frame.lookup()) else {
        return ArgumentValue::OptimizedOut;
    };
    match read(location, value_type.size(), frame, memory) {
        Some(value) => ArgumentValue::Known(printed(value, value_type, memory, names)),
        None => ArgumentValue::Unreadable,
    }
}

/// The bytes of a value, little-endian.
fn read(location: Location, size: u8, frame: &Frame, memory: &Memory<'_>) -> Option<u64> {
    let size = u32::from(size.min(8));
    let piece = |piece: Piece, bytes: u32| match piece {
        Piece::Value(sum) => Some(u64::from(total(sum, frame)?)),
        Piece::Memory(sum) => {
            let bytes = memory.from(total(sum, frame)?)?.get(..usize::try_from(bytes).ok()?)?;
            let byte = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            Some(bytes.iter().rev().fold(0, byte))
        }
    };
    let value = match location.high {
        Some(high) => piece(location.low, 4)? | piece(high, 4)? << 32,
        // A constant keeps its sign in any size.
        None => match location.low {
            Piece::Value(Sum { base: Base::Nothing, offset }) => i64::from(offset).cast_unsigned(),
            Piece::Value(_) if size > 4 => return None,
            low => piece(low, size)?,
        },
    };
    Some(if size < 8 { value & ((1 << (8 * size)) - 1) } else { value })
}

fn total(sum: Sum, frame: &Frame) -> Option<u32> {
    let base = match sum.base {
        Base::Nothing => 0,
        Base::Frame => frame.registers.frame_address?,
        Base::Register(number) => frame.registers.get(number)?,
    };
    Some(base.wrapping_add_signed(sum.offset))
}

fn printed(
    value: u64,
    value_type: &ValueType,
    memory: &Memory<'_>,
    names: &dyn NameLookup,
) -> String {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default();
    match value_type {
        ValueType::Unsigned(_) => value.to_string(),
        ValueType::Signed(size) => signed(value, *size).to_string(),
        ValueType::Boolean if value > 1 => value.to_string(),
        ValueType::Boolean => (value == 1).to_string(),
        ValueType::Character { signed: with_sign } => {
            let number = if *with_sign { signed(value, 1) } else { i64::from(low) };
            format!("{number} '{}'", escaped(low.to_le_bytes()[0], '\''))
        }
        ValueType::Float(4) => f32::from_bits(low).to_string(),
        ValueType::Float(_) => f64::from_bits(value).to_string(),
        ValueType::Pointer => format!("{low:#x}"),
        ValueType::Text => match text_at(low, memory) {
            Some(text) => format!("{low:#x} {text}"),
            None => format!("{low:#x}"),
        },
        ValueType::Function => match names.function_at(low) {
            Some(name) => format!("{low:#x} <{name}>"),
            None => format!("{low:#x}"),
        },
        ValueType::Enumeration { size, names: known } => {
            let number = signed(value, *size);
            // Values that do not fit into a word have no names.
            let same = |(known, _): &&(u32, u32)| {
                i64::from(known.cast_signed()) == number || u64::from(*known) == value
            };
            let name = known.iter().find(same).and_then(|(_, name)| names.string(*name));
            name.unwrap_or_else(|| number.to_string())
        }
        ValueType::Other => "...".to_owned(),
    }
}

/// Extends the sign of a number of `size` bytes.
fn signed(value: u64, size: u8) -> i64 {
    let unused = 64 - 8 * u32::from(size.clamp(1, 8));
    (value << unused).cast_signed() >> unused
}

/// The text in quotation marks, followed by dots if it was cut. `None` if the dump does not contain
/// it.
fn text_at(address: u32, memory: &Memory<'_>) -> Option<String> {
    let bytes = memory.from(address)?;
    let shown = bytes.get(..MAX_TEXT_BYTES).unwrap_or(bytes);
    let end = shown.iter().position(|byte| *byte == 0);
    let text: String =
        shown.iter().take(end.unwrap_or(shown.len())).map(|byte| escaped(*byte, '"')).collect();
    let dots = if end.is_some() { "" } else { "..." };
    Some(format!("\"{text}\"{dots}"))
}

/// As in C source.
fn escaped(byte: u8, quote: char) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' if char::from(byte) == quote => format!("\\{quote}"),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Segment;
    use crate::unwind::Trust;

    struct Known;

    impl NameLookup for Known {
        fn string(&self, number: u32) -> Option<String> {
            (number == 7).then(|| "RUNNING".to_owned())
        }

        fn function_at(&self, address: u32) -> Option<String> {
            (address == 0x4200_0000).then(|| "on_event".to_owned())
        }
    }

    const STACK: u32 = 0x3FC8_0000;

    fn frame() -> Frame {
        let mut frame = Frame::new(0x4200_0010, STACK, Trust::Context);
        frame.registers.set(10, Some(0x1234_56C8));
        frame.registers.set(11, Some(u32::MAX));
        frame.registers.frame_address = Some(STACK + 32);
        frame
    }

    /// The value at a location, with `hello` at the beginning of the stack.
    fn value(value_type: &ValueType, location: Location) -> ArgumentValue {
        let mut stack = b"he\"llo\n\0\xFF\x01".to_vec();
        stack.resize(32, 7);
        let memory = Memory::new([Segment { start: STACK, bytes: &stack }]);
        let parameter = Parameter {
            name: 1,
            value_type: 0,
            locations: vec![(0x4200_0000..0x4200_0020, location)],
        };
        value_of(&parameter, value_type, &frame(), &memory, &Known)
    }

    fn register(number: u8) -> Location {
        let low = Piece::Value(Sum { base: Base::Register(number), offset: 0 });
        Location { low, high: None }
    }

    fn constant(offset: i32) -> Location {
        Location { low: Piece::Value(Sum { base: Base::Nothing, offset }), high: None }
    }

    fn on_stack(offset: i32) -> Location {
        Location { low: Piece::Memory(Sum { base: Base::Frame, offset }), high: None }
    }

    #[test]
    fn values_are_printed_by_their_types() {
        let names = vec![(2, 7), (u32::MAX, 7)];
        let address = STACK.cast_signed();
        for (value_type, location, expected) in [
            (ValueType::Signed(4), register(11), "-1"),
            (ValueType::Unsigned(2), register(10), "22216"),
            (ValueType::Character { signed: true }, register(10), "-56 '\\310'"),
            (ValueType::Character { signed: false }, constant(10), "10 '\\n'"),
            (ValueType::Boolean, constant(1), "true"),
            (ValueType::Float(4), constant(0x3FC0_0000), "1.5"),
            (ValueType::Pointer, constant(0), "0x0"),
            (ValueType::Text, constant(address), "0x3fc80000 \"he\\\"llo\\n\""),
            (ValueType::Text, constant(address - 4), "0x3fc7fffc"),
            (ValueType::Function, constant(0x4200_0000), "0x42000000 <on_event>"),
            (ValueType::Enumeration { size: 4, names: names.clone() }, constant(2), "RUNNING"),
            (ValueType::Enumeration { size: 4, names: names.clone() }, constant(-1), "RUNNING"),
            (ValueType::Enumeration { size: 1, names }, constant(3), "3"),
            (ValueType::Signed(8), constant(-5), "-5"),
            (ValueType::Unsigned(2), on_stack(-24), "511"),
            (ValueType::Other, constant(3), "..."),
        ] {
            assert_eq!(
                value(&value_type, location),
                ArgumentValue::Known(expected.into()),
                "{value_type:?}"
            );
        }
        let both = Location { high: Some(register(11).low), ..register(10) };
        assert_eq!(value(&ValueType::Signed(8), both), ArgumentValue::Known("-3989547320".into()));
    }

    #[test]
    fn missing_values_are_marked_as_missing() {
        assert_eq!(value(&ValueType::Signed(4), register(12)), ArgumentValue::Unreadable);
        assert_eq!(value(&ValueType::Signed(4), on_stack(64)), ArgumentValue::Unreadable);
        assert_eq!(value(&ValueType::Signed(8), register(10)), ArgumentValue::Unreadable);
        let memory = Memory::default();
        let parameter = Parameter { name: 1, value_type: 0, locations: vec![(0..8, register(10))] };
        let found = value_of(&parameter, &ValueType::Pointer, &frame(), &memory, &Known);
        assert_eq!(found, ArgumentValue::OptimizedOut);
    }
}
