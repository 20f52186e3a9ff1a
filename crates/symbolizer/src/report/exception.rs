//! Exceptions of the processor.

use crate::dump::MachineState;

/// Addresses on the first page, which is never mapped, are null pointers plus the offset of a
/// member.
const NULL_PAGE: u32 = 4096;

pub(super) struct Exception {
    pub(super) cause: String,
    pub(super) reason: String,
}

impl Exception {
    pub(super) fn of(state: &MachineState) -> Self {
        let (name, address) = match state {
            MachineState::RiscV { mcause, mtval, .. } => (riscv_name(*mcause), *mtval),
            MachineState::Xtensa { cause, address, .. } => (xtensa_name(*cause), *address),
        };
        let Some(name) = name else {
            let (MachineState::RiscV { mcause: number, .. }
            | MachineState::Xtensa { cause: number, .. }) = state;
            return Self { cause: "unknown".into(), reason: format!("cause register {number:#x}") };
        };
        let null = if address < NULL_PAGE { ", as of a null pointer" } else { "" };
        let at = if name.of_memory {
            format!(" at address {address:#010x}{null}")
        } else {
            String::new()
        };
        Self { cause: name.cause.to_owned(), reason: format!("{}{at}", name.text) }
    }
}

/// The cause numbers of both processors are below this.
const MAX_CAUSES: u32 = 72;
/// Text before the cause (ESP-IDF `panic.c`), as in `Core  0 panic'ed (LoadProhibited).`
const CAUSE_PREFIX: &str = "panic'ed (";

/// The cause of the exception in a text, which is its name alone or the sentence of the panic
/// handler.
pub(super) fn cause_named_in(text: &str) -> Option<&'static str> {
    let sentence = text.split_once(CAUSE_PREFIX).and_then(|(_, rest)| rest.split_once(')'));
    let name = sentence.map_or(text, |(name, _)| name).trim();
    let name = name.strip_prefix("Unhandled ").unwrap_or(name);
    let known = |number| [riscv_name(number), xtensa_name(number)].into_iter().flatten();
    let named = (0..MAX_CAUSES).flat_map(known).find(|n| n.text.eq_ignore_ascii_case(name));
    named.map(|named| named.cause)
}

#[derive(Clone, Copy)]
struct Named {
    cause: &'static str,
    text: &'static str,
    /// The address register has the address of the access.
    of_memory: bool,
}

const fn plain(cause: &'static str, text: &'static str) -> Named {
    Named { cause, text, of_memory: false }
}

const fn memory(cause: &'static str, text: &'static str) -> Named {
    Named { cause, text, of_memory: true }
}

/// The bits of `mcause` with the cause. Chips with a core local interrupt controller (CLIC) have
/// other state in between.
const CAUSE_BITS: u32 = 0x8000_0FFF;

/// `mcause` (RISC-V privileged architecture, table of exception codes). For watchdog, cache and
/// stack guard ESP-IDF puts the numbers of the interrupts there (`soc/interrupts.h`).
fn riscv_name(mcause: u32) -> Option<Named> {
    Some(match mcause & CAUSE_BITS {
        0 => memory("exception/InstructionAddressMisaligned", "Instruction address misaligned"),
        1 => memory("exception/InstructionAccessFault", "Instruction access fault"),
        2 => plain("exception/IllegalInstruction", "Illegal instruction"),
        3 => plain("exception/Breakpoint", "Breakpoint"),
        4 => memory("exception/LoadAddressMisaligned", "Load address misaligned"),
        5 => memory("exception/LoadAccessFault", "Load access fault"),
        6 => memory("exception/StoreAddressMisaligned", "Store address misaligned"),
        7 => memory("exception/StoreAccessFault", "Store access fault"),
        8 => plain("exception/EnvironmentCallFromUserMode", "Environment call from user mode"),
        11 => {
            plain("exception/EnvironmentCallFromMachineMode", "Environment call from machine mode")
        }
        12 => memory("exception/InstructionPageFault", "Instruction page fault"),
        13 => memory("exception/LoadPageFault", "Load page fault"),
        15 => memory("exception/StorePageFault", "Store page fault"),
        24 => plain("int_wdt", "Interrupt watchdog timeout"),
        25 => plain("cache_error", "Cache error"),
        26 => plain("exception/MemoryProtectionFault", "Memory protection fault"),
        27 => plain("stack_overflow", "Stack protection fault"),
        _ => return None,
    })
}

/// EXCCAUSE (Xtensa ISA, table of exception causes); ESP-IDF defines 64 and above.
fn xtensa_name(cause: u32) -> Option<Named> {
    Some(match cause {
        0 => plain("exception/IllegalInstruction", "IllegalInstruction"),
        1 => plain("exception/Syscall", "Syscall"),
        2 => memory("exception/InstructionFetchError", "InstructionFetchError"),
        3 => memory("exception/LoadStoreError", "LoadStoreError"),
        4 => plain("exception/Level1Interrupt", "Level1Interrupt"),
        5 => plain("exception/Alloca", "Alloca"),
        6 => plain("exception/IntegerDivideByZero", "IntegerDivideByZero"),
        8 => plain("exception/Privileged", "Privileged"),
        9 => memory("exception/LoadStoreAlignment", "LoadStoreAlignment"),
        12 => memory("exception/InstrPIFDataError", "InstrPIFDataError"),
        13 => memory("exception/LoadStorePIFDataError", "LoadStorePIFDataError"),
        14 => memory("exception/InstrPIFAddrError", "InstrPIFAddrError"),
        15 => memory("exception/LoadStorePIFAddrError", "LoadStorePIFAddrError"),
        16 => memory("exception/InstTLBMiss", "InstTLBMiss"),
        17 => memory("exception/InstTLBMultiHit", "InstTLBMultiHit"),
        18 => memory("exception/InstFetchPrivilege", "InstFetchPrivilege"),
        20 => memory("exception/InstrFetchProhibited", "InstrFetchProhibited"),
        24 => memory("exception/LoadStoreTLBMiss", "LoadStoreTLBMiss"),
        25 => memory("exception/LoadStoreTLBMultihit", "LoadStoreTLBMultihit"),
        26 => memory("exception/LoadStorePrivilege", "LoadStorePrivilege"),
        28 => memory("exception/LoadProhibited", "LoadProhibited"),
        29 => memory("exception/StoreProhibited", "StoreProhibited"),
        32..=39 => plain("exception/CoprocessorDisabled", "CoprocessorDisabled"),
        65 => plain("exception/DebugException", "Debug exception"),
        66 => plain("exception/DoubleException", "Double exception"),
        67 => plain("exception/KernelException", "Kernel exception"),
        68 => plain("exception/CoprocessorException", "Coprocessor exception"),
        69 => plain("int_wdt", "Interrupt watchdog timeout on CPU0"),
        70 => plain("int_wdt", "Interrupt watchdog timeout on CPU1"),
        71 => plain("cache_error", "Cache error"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_exceptions() {
        for (text, cause) in [
            (
                "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
                Some("exception/LoadProhibited"),
            ),
            (
                "Guru Meditation Error: Core  0 panic'ed (Double exception).",
                Some("exception/DoubleException"),
            ),
            ("Unhandled debug exception", Some("exception/DebugException")),
            ("Store access fault", Some("exception/StoreAccessFault")),
            ("Guru Meditation Error: Core  0 panic'ed (Unknown reason).", None),
            ("panic'ed (", None),
        ] {
            assert_eq!(cause_named_in(text), cause, "{text}");
        }
    }

    #[test]
    fn exceptions_name_the_address_and_null_pointers() {
        let state =
            |mcause, mtval| MachineState::RiscV { mstatus: 0, mtvec: 0, mcause, mtval, mhartid: 0 };
        let exception = Exception::of(&state(5, 0x14));
        assert_eq!(exception.cause, "exception/LoadAccessFault");
        assert_eq!(
            exception.reason,
            "Load access fault at address 0x00000014, as of a null pointer"
        );
        assert_eq!(Exception::of(&state(2, 0)).reason, "Illegal instruction");
        assert_eq!(Exception::of(&state(0x3800_0007, 0)).cause, "exception/StoreAccessFault");
        assert_eq!(Exception::of(&state(0x77, 0)).cause, "unknown");
    }
}
