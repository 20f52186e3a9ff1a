//! What debugging information tells of the parameters of a function: where their values are, and
//! what they mean.

use std::ops::Range;

/// Pieces of a value that lies in several locations.
pub(crate) const MAX_PIECES: usize = 2;

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// String.
    pub(crate) name: u32,
    /// Number of its type.
    pub(crate) value_type: u32,
    /// Where it is while the function is at one of these addresses.
    pub(crate) locations: Vec<(Range<u32>, Location)>,
}

/// Where a value is: in one piece, or its lower and its higher word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) low: Piece,
    pub(crate) high: Option<Piece>,
}

/// Where a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It is this sum.
    Value(Sum),
    /// It is in memory, at this sum.
    Memory(Sum),
}

/// A register or nothing, plus a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) base: Base,
    pub(crate) offset: i32,
}

/// What a location is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// Zero.
    Nothing,
    /// The canonical frame address.
    Frame,
    /// The value of a register.
    Register(u8),
}

/// What a value means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ValueType {
    /// A number without sign, of so many bytes.
    Unsigned(u8),
    /// A number with sign.
    Signed(u8),
    /// `true` or `false`.
    Boolean,
    /// A character of one byte, with or without sign.
    Character {
        /// With one.
        signed: bool,
    },
    /// A floating point number.
    Float(u8),
    /// An address of anything.
    Pointer,
    /// An address of characters.
    Text,
    /// An address of a function.
    Function,
    /// One of these values, with names; of so many bytes.
    Enumeration {
        /// In bytes.
        size: u8,
        /// Value and string of each name.
        names: Vec<(u32, u32)>,
    },
    /// A structure, or something else that is not shown.
    Other,
}

impl ValueType {
    /// Bytes of a value; of what is not shown none.
    pub(crate) const fn size(&self) -> u8 {
        match self {
            Self::Unsigned(size)
            | Self::Signed(size)
            | Self::Float(size)
            | Self::Enumeration { size, .. } => *size,
            Self::Boolean | Self::Character { .. } => 1,
            Self::Pointer | Self::Text | Self::Function => 4,
            Self::Other => 0,
        }
    }
}

impl Parameter {
    /// Where it is at an address.
    pub(crate) fn location_at(&self, address: u32) -> Option<Location> {
        let here = self.locations.iter().find(|(range, _)| range.contains(&address));
        here.map(|(_, location)| *location)
    }
}
