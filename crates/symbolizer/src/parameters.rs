//! The parameters of functions, as debugging information describes them: their types, and the
//! locations of their values.

use std::ops::Range;

/// Pieces of a value that is split over several registers or words.
pub(crate) const MAX_PIECES: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Number of a string.
    pub(crate) name: u32,
    /// Number of a type.
    pub(crate) value_type: u32,
    /// Its location while the program counter is in the range.
    pub(crate) locations: Vec<(Range<u32>, Location)>,
}

/// Where a value is: in one piece, or as a low and a high word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) low: Piece,
    pub(crate) high: Option<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The word is the sum.
    Value(Sum),
    /// The word is in memory, at the sum.
    Memory(Sum),
}

/// A base plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) base: Base,
    pub(crate) offset: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Nothing,
    /// The canonical frame address.
    Frame,
    /// The value of this register.
    Register(u8),
}

/// How the bytes of a value are to be read and printed. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ValueType {
    Unsigned(u8),
    Signed(u8),
    Boolean,
    /// One byte.
    Character {
        signed: bool,
    },
    Float(u8),
    Pointer,
    /// A pointer to characters.
    Text,
    /// A pointer to a function.
    Function,
    Enumeration {
        size: u8,
        /// Value of each enumerator, and the number of the string with its name.
        names: Vec<(u32, u32)>,
    },
    /// A structure, or another type whose values are not printed.
    Other,
}

impl ValueType {
    /// In bytes; 0 for types whose values are not printed.
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
    pub(crate) fn location_at(&self, address: u32) -> Option<Location> {
        let here = self.locations.iter().find(|(range, _)| range.contains(&address));
        here.map(|(_, location)| *location)
    }
}
