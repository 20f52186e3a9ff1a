//! Call frame information: where a function saves the registers of its caller.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, Register, RegisterRule, UnwindContext,
    UnwindSection,
};

use super::{Elf, Slice};

/// Frame description entries that are read.
const MAX_DESCRIPTIONS: usize = 4_000_000;
/// Registers of either architecture.
const REGISTER_COUNT: u16 = 32;

/// How to get from a frame to its caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UnwindRule {
    /// Register and offset: their sum is the canonical frame address.
    pub(crate) cfa: (u8, i32),
    /// ra, except in functions that save registers for others.
    pub(crate) return_address_register: u8,
    pub(crate) return_address: SavedAt,
    /// By register number.
    pub(crate) saved: Vec<(u8, SavedAt)>,
}

/// Where the value that a register has in the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SavedAt {
    /// Not saved. For the return address: there is no caller.
    Nowhere,
    /// In the register itself.
    Same,
    /// In memory, at this offset from the canonical frame address.
    AtCfaOffset(i32),
    /// It is the canonical frame address plus this offset.
    CfaPlus(i32),
    /// In another register.
    Register(u8),
}

/// A frame description entry: the rules of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fde {
    pub(crate) start: u32,
    pub(crate) length: u32,
    /// In `.eh_frame`, otherwise in `.debug_frame`.
    in_eh_frame: bool,
    offset: usize,
}

/// The call frame information of an ELF.
pub(crate) struct Cfi<'a> {
    debug_frame: DebugFrame<Slice<'a>>,
    eh_frame: EhFrame<Slice<'a>>,
    bases: BaseAddresses,
    /// By address.
    fdes: Vec<Fde>,
}

impl<'a> Cfi<'a> {
    /// Finds all entries. Some builds have only one of the two sections, in others a few functions
    /// are only in the second.
    pub(crate) fn of(elf: &Elf<'a>) -> Self {
        let (debug_frame, _) = elf.debug_section(".debug_frame");
        let (eh_frame, address) = elf.debug_section(".eh_frame");
        let mut debug_frame = DebugFrame::from(debug_frame);
        debug_frame.set_address_size(4);
        let mut eh_frame = EhFrame::from(eh_frame);
        eh_frame.set_address_size(4);
        let bases = BaseAddresses::default().set_eh_frame(address.into());
        let mut fdes = Vec::new();
        find(&debug_frame, &bases, |fde| fdes.push(Fde { in_eh_frame: false, ..fde }));
        find(&eh_frame, &bases, |fde| fdes.push(Fde { in_eh_frame: true, ..fde }));
        fdes.sort_by_key(|fde| (fde.start, fde.in_eh_frame, fde.offset));
        fdes.dedup_by_key(|fde| fde.start);
        Self { debug_frame, eh_frame, bases, fdes }
    }

    /// By address.
    pub(crate) fn fdes(&self) -> &[Fde] {
        &self.fdes
    }

    pub(crate) fn rule(&self, address: u32) -> Option<UnwindRule> {
        let after = self.fdes.partition_point(|fde| fde.start <= address);
        let fde = self.fdes.get(after.checked_sub(1)?)?;
        if address - fde.start >= fde.length {
            return None;
        }
        let mut found = None;
        self.rules(*fde, |start, rule| {
            let before = start <= address;
            if before {
                found = rule;
            }
            before
        });
        found
    }

    /// Emits the rules of an entry, each with the first address it applies to, until `emit`
    /// returns false.
    pub(crate) fn rules(&self, fde: Fde, emit: impl FnMut(u32, Option<UnwindRule>) -> bool) {
        if fde.in_eh_frame {
            rules_of(&self.eh_frame, &self.bases, fde.offset.into(), emit);
        } else {
            rules_of(&self.debug_frame, &self.bases, fde.offset.into(), emit);
        }
    }
}

/// Functions that the linker removed leave entries without an address or a length, which are
/// skipped.
fn find<'a, S: UnwindSection<Slice<'a>, Offset: std::hash::Hash + Eq>>(
    section: &S,
    bases: &BaseAddresses,
    mut emit: impl FnMut(Fde),
) {
    let mut cies = HashMap::new();
    let mut entries = section.entries(bases);
    for _ in 0..MAX_DESCRIPTIONS {
        // Entries after a damaged one cannot be found.
        let Ok(Some(entry)) = entries.next() else { break };
        let CieOrFde::Fde(partial) = entry else { continue };
        let parsed = partial.parse(|section, bases, offset| {
            if let Some(cie) = cies.get(&offset) {
                return Ok(Clone::clone(cie));
            }
            let cie = section.cie_from_offset(bases, offset)?;
            cies.insert(offset, cie.clone());
            Ok(cie)
        });
        let Ok(fde) = parsed else { continue };
        let (start, length) = (u32::try_from(fde.initial_address()), u32::try_from(fde.len()));
        if let (Ok(start @ 1..), Ok(length @ 1..)) = (start, length) {
            emit(Fde { start, length, in_eh_frame: false, offset: fde.offset() });
        }
    }
}

fn rules_of<'a, S: UnwindSection<Slice<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    offset: S::Offset,
    mut emit: impl FnMut(u32, Option<UnwindRule>) -> bool,
) {
    let fde = section.fde_from_offset(bases, offset, S::cie_from_offset);
    let Ok(fde) = fde else { return };
    let column = fde.cie().return_address_register();
    let mut context = UnwindContext::new();
    let Ok(mut table) = fde.rows(section, bases, &mut context) else { return };
    while let Ok(Some(row)) = table.next_row() {
        let Ok(start) = u32::try_from(row.start_address()) else { return };
        if !emit(start, rule_of(row, column)) {
            return;
        }
    }
}

/// `None` for rules that compilers do not make for these processors, such as expressions.
fn rule_of(row: &gimli::UnwindTableRow<usize>, column: Register) -> Option<UnwindRule> {
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
    let cfa = (number(*register)?, i32::try_from(*offset).ok()?);
    let mut return_address = SavedAt::Same;
    let mut saved = Vec::new();
    for (register, rule) in row.registers() {
        let at = saved_at(rule)?;
        if *register == column {
            return_address = at;
        }
        saved.push((number(*register)?, at));
    }
    saved.sort_by_key(|(register, _)| *register);
    Some(UnwindRule { cfa, return_address_register: number(column)?, return_address, saved })
}

fn saved_at(rule: &RegisterRule<usize>) -> Option<SavedAt> {
    Some(match rule {
        RegisterRule::Undefined => SavedAt::Nowhere,
        RegisterRule::SameValue => SavedAt::Same,
        RegisterRule::Offset(offset) => SavedAt::AtCfaOffset(i32::try_from(*offset).ok()?),
        RegisterRule::ValOffset(offset) => SavedAt::CfaPlus(i32::try_from(*offset).ok()?),
        RegisterRule::Register(register) => SavedAt::Register(number(*register)?),
        _ => return None,
    })
}

/// The number comes from an untrusted file.
fn number(register: Register) -> Option<u8> {
    (register.0 < REGISTER_COUNT).then_some(u8::try_from(register.0).ok()?)
}
