//! Functions in a symbol table.

use std::cmp::Reverse;
use std::ops::Range;

use object::{Object, ObjectSymbol, SymbolKind, SymbolSection};

use super::Elf;

/// Symbols that are read.
const MAX_SYMBOLS: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionSymbol<'a> {
    pub(crate) start: u32,
    /// In bytes; 0 if the symbol has no size.
    pub(crate) size: u32,
    pub(crate) name: &'a [u8],
    /// Defined by the linker script, as the functions in ROM are.
    pub(crate) absolute: bool,
}

impl<'a> Elf<'a> {
    /// All functions by address, one per address.
    pub(crate) fn functions(&self) -> Vec<FunctionSymbol<'a>> {
        let mut functions: Vec<_> =
            self.file.symbols().take(MAX_SYMBOLS).filter_map(|symbol| function(&symbol)).collect();
        // Of several names for one address, a name with a size is chosen, then the first in the
        // alphabet.
        functions.sort_by_key(|function| {
            (function.start, function.absolute, Reverse(function.size), function.name)
        });
        functions.dedup_by_key(|function| function.start);
        // Symbols of linker scripts and labels of assemblers within a function are not functions.
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

/// Mapping symbols and labels of assemblers are not names of functions.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.starts_with(b"$") && !name.starts_with(b".L")
}

/// The latest end of a function. A symbol without a size is a label, which does not name everything
/// after it.
pub(crate) const fn end_of(start: u32, size: u32) -> u32 {
    const LABEL: u32 = 4096;
    start.saturating_add(if size == 0 { LABEL } else { size })
}

/// The address range of the function around an address, by its symbol.
pub(crate) fn range_around(functions: &[FunctionSymbol<'_>], address: u32) -> Option<Range<u32>> {
    let after = functions.partition_point(|function| function.start <= address);
    let function = functions.get(after.checked_sub(1)?)?;
    let next = functions.get(after).map_or(u32::MAX, |next| next.start);
    let end = end_of(function.start, function.size).min(next);
    (address < end && !function.absolute).then_some(function.start..end)
}
