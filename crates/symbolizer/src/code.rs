//! The code of a firmware: calls, jumps and unwind rules by address.

mod riscv;
mod xtensa;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use coredock_domain::chip::Architecture;

use crate::demangle::demangle;
use crate::elf::{Cfi, Elf, FunctionSymbol, UnwindRule, range_around};

/// Addresses are those of the device.
pub(crate) trait Code {
    /// The rule that leads from a frame at `address` to its caller. On Xtensa register windows lead
    /// there, so only the first instruction of a function, which is about to move the window, has a
    /// rule.
    fn rule(&self, address: u32) -> Option<UnwindRule>;

    /// A rule derived from the first instructions of the function, for compiled code which has no
    /// call frame information.
    fn prologue(&self, _address: u32) -> Option<UnwindRule> {
        None
    }

    /// Whether there are instructions at `address`.
    fn is_code(&self, address: u32) -> bool;

    /// The call that returns to this address.
    fn call_before(&self, return_address: u32) -> Option<Call>;

    fn function_around(&self, address: u32) -> Option<Range<u32>>;

    /// Direct jumps from `function` to other functions.
    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) start: u32,
    pub(crate) name: String,
    /// Defined by the linker script, as symbols of the ROM are.
    pub(crate) absolute: bool,
}

/// The ROM address ranges of all chips (technical reference manuals, system and memory). No
/// firmware contains this code.
pub(crate) fn is_rom(address: u32) -> bool {
    const ROM: [Range<u32>; 2] = [0x4000_0000..0x4008_0000, 0x4FC0_0000..0x4FC4_0000];
    ROM.iter().any(|rom| rom.contains(&address))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) return_address: u32,
    /// `None` for a call through a register.
    pub(crate) target: Option<u32>,
}

/// A jump instruction that does not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    /// Address after the instruction.
    pub(crate) end: u32,
    pub(crate) target: u32,
}

/// Calls and jumps of one function, ordered by address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Branches {
    pub(crate) calls: Vec<Call>,
    pub(crate) jumps: Vec<Jump>,
}

/// The code of an ELF, disassembled function by function when it is needed.
pub(crate) struct ElfCode<'a, 'elf> {
    elf: &'elf Elf<'a>,
    cfi: Cfi<'a>,
    functions: Vec<FunctionSymbol<'a>>,
    /// By the start of the function.
    cache: RefCell<HashMap<u32, Rc<Branches>>>,
}

impl<'a, 'elf> ElfCode<'a, 'elf> {
    pub(crate) fn of(elf: &'elf Elf<'a>) -> Self {
        let (cfi, functions) = (Cfi::of(elf), elf.functions());
        Self { elf, cfi, functions, cache: RefCell::default() }
    }

    pub(crate) fn cfi(&self) -> &Cfi<'a> {
        &self.cfi
    }

    pub(crate) fn functions(&self) -> &[FunctionSymbol<'a>] {
        &self.functions
    }

    /// The last symbol at or before an address.
    pub(crate) fn symbol_before(&self, address: u32) -> Option<Symbol> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let FunctionSymbol { start, name, absolute, .. } =
            *self.functions.get(after.checked_sub(1)?)?;
        Some(Symbol { start, name: demangle(name), absolute })
    }

    /// Address ranges of the functions whose code is in this ELF.
    pub(crate) fn function_ranges(&self) -> impl Iterator<Item = Range<u32>> {
        let own = self.functions.iter().filter(|function| !function.absolute);
        own.filter_map(|function| self.function_around(function.start))
    }

    /// The rule at an address where a function with register windows begins.
    pub(crate) fn rule_of_entry(&self, address: u32) -> Option<UnwindRule> {
        let function = self.function_around(address)?;
        let begins = function.start == address;
        let enters = begins && xtensa::is_entry(self.elf.code_from(address)?);
        enters.then(xtensa::before_entry)
    }

    fn is_function_start(&self, address: u32) -> bool {
        self.functions.binary_search_by_key(&address, |function| function.start).is_ok()
    }

    pub(crate) const fn architecture(&self) -> Architecture {
        self.elf.architecture
    }

    /// [`Self::branches`], computed once per function.
    fn cached_branches(&self, function: &Range<u32>) -> Rc<Branches> {
        let mut cache = self.cache.borrow_mut();
        let found = cache.entry(function.start).or_insert_with(|| Rc::new(self.branches(function)));
        Rc::clone(found)
    }

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
        let branches = self.cached_branches(&function);
        branches.calls.iter().copied().find(|call| call.return_address == return_address)
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        range_around(&self.functions, address).filter(|_| self.is_code(address))
    }

    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump> {
        self.cached_branches(&function).jumps.clone()
    }
}
