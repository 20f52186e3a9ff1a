//! What an unwinder asks about the code of a firmware.

mod riscv;
mod xtensa;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use coredock_domain::chip::Architecture;

use crate::demangle::demangle;
use crate::elf::{Cfi, Elf, FunctionSymbol, UnwindRule, range_around};

/// Answers about instructions. Addresses are those of the device.
pub(crate) trait Code {
    /// How to get from a frame at `address` to its caller. On Xtensa the register windows tell, but
    /// where a function is about to move them: at its `ENTRY`.
    fn rule(&self, address: u32) -> Option<UnwindRule>;

    /// The same by what the first instructions of a function do, for code without rules that was
    /// written by a compiler.
    fn prologue(&self, _address: u32) -> Option<UnwindRule> {
        None
    }

    /// Whether instructions lie there.
    fn is_code(&self, address: u32) -> bool;

    /// The call whose return address this is.
    fn call_before(&self, return_address: u32) -> Option<Call>;

    /// Where the function around an address begins and ends.
    fn function_around(&self, address: u32) -> Option<Range<u32>>;

    /// Direct jumps within `function` that lead out of it.
    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump>;
}

/// The name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) start: u32,
    pub(crate) name: String,
    /// Given by the linker script, as those of the ROM are.
    pub(crate) absolute: bool,
}

/// The ROM of any chip (technical reference manuals, system and memory); it is in no firmware.
pub(crate) fn is_rom(address: u32) -> bool {
    const ROM: [Range<u32>; 2] = [0x4000_0000..0x4008_0000, 0x4FC0_0000..0x4FC4_0000];
    ROM.iter().any(|rom| rom.contains(&address))
}

/// A call instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// Behind it.
    pub(crate) return_address: u32,
    /// `None` for a call through a register.
    pub(crate) target: Option<u32>,
}

/// A jump instruction that does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    /// Behind it.
    pub(crate) end: u32,
    pub(crate) target: u32,
}

/// Calls and jumps of one function, in the order of their addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Branches {
    pub(crate) calls: Vec<Call>,
    pub(crate) jumps: Vec<Jump>,
}

/// The code of an ELF, looked at when asked.
pub(crate) struct ElfCode<'a, 'elf> {
    elf: &'elf Elf<'a>,
    cfi: Cfi<'a>,
    functions: Vec<FunctionSymbol<'a>>,
    /// By the start of the function.
    seen: RefCell<HashMap<u32, Rc<Branches>>>,
}

impl<'a, 'elf> ElfCode<'a, 'elf> {
    pub(crate) fn of(elf: &'elf Elf<'a>) -> Self {
        let (cfi, functions) = (Cfi::of(elf), elf.functions());
        Self { elf, cfi, functions, seen: RefCell::default() }
    }

    pub(crate) fn cfi(&self) -> &Cfi<'a> {
        &self.cfi
    }

    pub(crate) fn functions(&self) -> &[FunctionSymbol<'a>] {
        &self.functions
    }

    /// The symbol that begins last before an address.
    pub(crate) fn symbol_before(&self, address: u32) -> Option<Symbol> {
        let behind = self.functions.partition_point(|function| function.start <= address);
        let FunctionSymbol { start, name, absolute, .. } =
            *self.functions.get(behind.checked_sub(1)?)?;
        Some(Symbol { start, name: demangle(name), absolute })
    }

    /// The functions that have code here, by address.
    pub(crate) fn function_ranges(&self) -> impl Iterator<Item = Range<u32>> {
        let own = self.functions.iter().filter(|function| !function.absolute);
        own.filter_map(|function| self.function_around(function.start))
    }

    /// The rule where a function with windows begins.
    pub(crate) fn rule_of_entry(&self, address: u32) -> Option<UnwindRule> {
        let function = self.function_around(address)?;
        let begins = function.start == address;
        let enters = begins && xtensa::is_entry(self.elf.code_from(address)?);
        enters.then(xtensa::before_entry)
    }

    fn is_function_start(&self, address: u32) -> bool {
        self.functions.binary_search_by_key(&address, |function| function.start).is_ok()
    }

    /// The kind of processor it is for.
    pub(crate) const fn architecture(&self) -> Architecture {
        self.elf.architecture
    }

    /// The same as [`Self::branches`], looked for once.
    fn cached_branches(&self, function: &Range<u32>) -> Rc<Branches> {
        let mut seen = self.cache.borrow_mut();
        let found = seen.entry(function.start).or_insert_with(|| Rc::new(self.branches(function)));
        Rc::clone(found)
    }

    /// Calls in a function, and jumps out of it.
    pub(crate) fn branches(&self, function: &Range<u32>) -> Branches {
        let Some(bytes) = self.elf.code_from(function.start) else { return Branches::default() };
        let length = usize::try_from(function.end - function.start).unwrap_or(usize::MAX);
        let bytes = bytes.get(..length).unwrap_or(bytes);
        match self.elf.architecture {
            Architecture::RiscV => riscv::branches(bytes, function.start),
            Architecture::Xtensa => {
                xtensa::branches(bytes, function.start, |target| self.is_function_start(target))
            }
        }
    }
}

impl Code for ElfCode<'_, '_> {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        match self.elf.architecture {
            Architecture::RiscV => self.cfi.rule(address),
            Architecture::Xtensa => self.rule_of_entry(address),
        }
    }

    fn prologue(&self, address: u32) -> Option<UnwindRule> {
        if self.elf.architecture != Architecture::RiscV {
            return None;
        }
        let function = self.function_around(address)?;
        let done = usize::try_from(address - function.start).ok()?;
        self.elf.code_from(function.start)?.get(..done).map(riscv::rule_after)
    }

    fn is_code(&self, address: u32) -> bool {
        self.elf.code_from(address).is_some()
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let function = self.function_around(return_address.checked_sub(1)?)?;
        let seen = self.cached_branches(&function);
        seen.calls.iter().copied().find(|call| call.return_address == return_address)
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        range_around(&self.functions, address).filter(|_| self.is_code(address))
    }

    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump> {
        self.cached_branches(&function).jumps.clone()
    }
}
