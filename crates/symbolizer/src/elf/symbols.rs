//! The functions a symbol table names.

use std::cmp::Reverse;
use std::ops::Range;

use object::{Object, ObjectSymbol, SymbolKind, SymbolSection};

use super::Elf;

/// Symbols that are looked at.
const MAX_SYMBOLS: usize = 4_000_000;

/// A function by its symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionSymbol<'a> {
    pub(crate) start: u32,
    /// Length in bytes; 0 when the symbol does not tell.
    pub(crate) size: u32,
    pub(crate) name: &'a [u8],
    /// Given by the linker script, as the functions in ROM are.
    pub(crate) absolute: bool,
}

impl<'a> Elf<'a> {
    /// All functions by address, one for each address.
    pub(crate) fn functions(&self) -> Vec<FunctionSymbol<'a>> {
        let mut functions: Vec<_> =
            self.file.symbols().take(MAX_SYMBOLS).filter_map(|symbol| function(&symbol)).collect();
        // Of several names for one address the one with a size, then the first in the alphabet.
        functions.sort_by_key(|function| {
            (function.start, function.absolute, Reverse(function.size), function.name)
        });
        functions.dedup_by_key(|function| function.start);
        // Marks of a linker script and labels of an assembler within a function are none.
        let mut end = 0;
        functions.retain(|function| {
            let within = function.size == 0 && !function.absolute && function.start < end;
            if !function.absolute {
                end = end.max(function.start.saturating_add(function.size));
            }
            !within
        });
        functions
    }
}

fn function<'a>(
    symbol: &object::read::elf::ElfSymbol32<'a, '_, object::LittleEndian>,
) -> Option<FunctionSymbol<'a>> {
    let name = symbol.name_bytes().ok().filter(|name| is_name(name))?;
    let absolute = symbol.section() == SymbolSection::Absolute;
    let in_code = symbol.kind() == SymbolKind::Text;
    let untyped = symbol.kind() == SymbolKind::Unknown && symbol.is_global();
    if !(in_code || absolute || untyped) || symbol.is_undefined() {
        return None;
    }
    let start = u32::try_from(symbol.address()).ok().filter(|start| *start != 0)?;
    let size = u32::try_from(symbol.size()).ok()?;
    Some(FunctionSymbol { start, size, name, absolute })
}

/// Mapping symbols and labels of the assembler are none.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.starts_with(b"$") && !name.starts_with(b".L")
}

/// Where a function ends at the latest. What has no size is a label: it does not name everything
/// behind it.
pub(crate) const fn end_of(start: u32, size: u32) -> u32 {
    const LABEL: u32 = 4096;
    start.saturating_add(if size == 0 { LABEL } else { size })
}

/// Where the code of the function around an address lies, by its symbol.
pub(crate) fn range_around(functions: &[FunctionSymbol<'_>], address: u32) -> Option<Range<u32>> {
    let behind = functions.partition_point(|function| function.start <= address);
    let function = functions.get(behind.checked_sub(1)?)?;
    let next = functions.get(behind).map_or(u32::MAX, |next| next.start);
    let end = end_of(function.start, function.size).min(next);
    (address < end && !function.absolute).then_some(function.start..end)
}
