//! What an unwinder asks about the code of a firmware.

mod riscv;

use std::ops::Range;

use crate::demangle::demangle;
use crate::dump::Architecture;
use crate::elf::{Cfi, Elf, FunctionSymbol, UnwindRule, range_around};

/// Answers about instructions. Addresses are those of the device.
pub(crate) trait Code {
    /// How to get from a frame at `address` to its caller.
    fn rule(&self, address: u32) -> Option<UnwindRule>;

    /// Whether instructions lie there.
    fn is_code(&self, address: u32) -> bool;

    /// The call whose return address this is.
    fn call_before(&self, return_address: u32) -> Option<Call>;

    /// Where the function around an address begins and ends.
    fn function_around(&self, address: u32) -> Option<Range<u32>>;

    /// Direct jumps within `function` that lead out of it.
    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump>;
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
}

impl<'a, 'elf> ElfCode<'a, 'elf> {
    pub(crate) fn of(elf: &'elf Elf<'a>) -> Self {
        Self { elf, cfi: Cfi::of(elf), functions: elf.functions() }
    }

    pub(crate) fn cfi(&self) -> &Cfi<'a> {
        &self.cfi
    }

    pub(crate) fn functions(&self) -> &[FunctionSymbol<'a>] {
        &self.functions
    }

    /// The function that begins last before an address: name, distance and size in bytes.
    pub(crate) fn symbol_before(&self, address: u32) -> Option<(String, u32, u32)> {
        let behind = self.functions.partition_point(|function| function.start <= address);
        let function = self.functions.get(behind.checked_sub(1)?)?;
        Some((demangle(function.name), address - function.start, function.size))
    }

    /// The functions that have code here, by address.
    pub(crate) fn function_ranges(&self) -> impl Iterator<Item = Range<u32>> {
        let own = self.functions.iter().filter(|function| !function.absolute);
        own.filter_map(|function| self.function_around(function.start))
    }

    /// Calls in a function, and jumps out of it.
    pub(crate) fn branches(&self, function: &Range<u32>) -> Branches {
        let Some(bytes) = self.elf.code_from(function.start) else { return Branches::default() };
        let length = usize::try_from(function.end - function.start).unwrap_or(usize::MAX);
        let bytes = bytes.get(..length).unwrap_or(bytes);
        match self.elf.architecture {
            Architecture::Riscv => riscv::branches(bytes, function.start),
            Architecture::Xtensa => Branches::default(),
        }
    }
}

impl Code for ElfCode<'_, '_> {
    fn rule(&self, address: u32) -> Option<UnwindRule> {
        self.cfi.rule(address)
    }

    fn is_code(&self, address: u32) -> bool {
        self.elf.code_from(address).is_some()
    }

    fn call_before(&self, return_address: u32) -> Option<Call> {
        let function = self.function_around(return_address.checked_sub(1)?)?;
        let calls = self.branches(&function).calls;
        calls.into_iter().find(|call| call.return_address == return_address)
    }

    fn function_around(&self, address: u32) -> Option<Range<u32>> {
        range_around(&self.functions, address).filter(|_| self.is_code(address))
    }

    fn jumps_out_of(&self, function: Range<u32>) -> Vec<Jump> {
        self.branches(&function).jumps
    }
}
