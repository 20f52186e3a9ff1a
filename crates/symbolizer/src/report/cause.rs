//! Why a device crashed.

use super::Frame;
use crate::dump::{Crashed, Dump, MachineState};
use crate::unwind::Trust;
use crate::words::{printable, until_nul};

/// Longest text of a panic that is shown, in bytes.
const LONGEST: usize = 4096;
/// What is printed on a page of memory that was never mapped: a pointer that was null, plus the
/// offset of a member.
const NULL_PAGE: u32 = 4096;

/// Why a device crashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// In the words of the panic handler, or of the cause register.
    pub reason: Option<String>,
    /// See [`cause`](Self::cause) in contract §6.9.
    pub cause: String,
    /// The core that crashed.
    pub core: Option<u32>,
    /// Where.
    pub pc: Option<u32>,
}

/// What panic handlers print, and the cause it stands for (ESP-IDF `panic.c`, `panic_handler.c`,
/// `task_wdt.c`, newlib `assert.c`).
const TEXTS: [(&str, &str); 12] = [
    ("abort() was called", "abort"),
    ("assert failed", "assert"),
    ("assertion \"", "assert"),
    ("ESP_ERROR_CHECK failed", "abort"),
    ("Stack smashing", "stack_smashing"),
    ("stack overflow in task", "stack_overflow"),
    ("Stack protection fault", "stack_overflow"),
    ("Task watchdog got triggered", "task_wdt"),
    ("Interrupt wdt timeout", "int_wdt"),
    ("Cache error", "cache_error"),
    ("Cache disabled but cached memory", "cache_error"),
    ("panicked at", "abort"),
];

/// Functions that end a program, for dumps that hold no text.
const FUNCTIONS: [(&str, &str); 5] = [
    ("__assert_func", "assert"),
    ("__stack_chk_fail", "stack_smashing"),
    ("vApplicationStackOverflowHook", "stack_overflow"),
    ("panic_abort", "abort"),
    ("abort", "abort"),
];

impl Panic {
    pub(super) fn of(dump: &Dump<'_>, frames: &[Frame]) -> Self {
        let text = dump.panic_details.map(shown).or_else(|| abort_text(dump, frames));
        let exception = dump.machine_state.as_ref().map(Exception::of);
        let by_text = text.as_deref().and_then(cause_of_text);
        let by_function = || cause_of_functions(frames);
        // The trap that ends `abort` is no cause.
        let cause = by_text.or_else(by_function).map(str::to_owned);
        let cause = cause.or_else(|| exception.as_ref().map(|exception| exception.cause.clone()));
        let reason = text.filter(|text| !text.is_empty()).or_else(|| exception.map(|e| e.reason));
        let core = reason.as_deref().and_then(core_of_text);
        let pc = dump.crashed_task().map(|task| task.registers.pc());
        let cause = if dump.crashed == Crashed::Unusable && cause.is_none() {
            "unknown".to_owned()
        } else {
            cause.unwrap_or_else(|| "unknown".to_owned())
        };
        Self { reason, cause, core: core.or(hart(dump)), pc }
    }
}

fn shown(text: &[u8]) -> String {
    let text = until_nul(text);
    printable(text.get(..LONGEST).unwrap_or(text)).trim_end().to_owned()
}

fn cause_of_text(text: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(part, _)| text.contains(part)).map(|(_, cause)| *cause)
}

fn cause_of_functions(frames: &[Frame]) -> Option<&'static str> {
    let names: Vec<&str> = frames
        .iter()
        .take(6)
        .filter(|frame| frame.trust != Trust::Scan)
        .filter_map(|frame| frame.source.function.as_deref())
        .collect();
    FUNCTIONS.iter().find(|(name, _)| names.contains(name)).map(|(_, cause)| *cause)
}

/// The text `panic_abort` was called with: it lies on the stack, which the dump holds.
fn abort_text(dump: &Dump<'_>, frames: &[Frame]) -> Option<String> {
    if frames.first()?.source.function.as_deref() != Some("panic_abort") {
        return None;
    }
    let pointer = match &dump.crashed_task()?.registers {
        crate::dump::Registers::Riscv(registers) => registers.0[10],
        crate::dump::Registers::Xtensa(registers) => registers.window[2],
    };
    let text = until_nul(dump.memory.from(pointer)?);
    let plain =
        !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'));
    plain.then(|| shown(text))
}

/// "… on core 0", "… CPU1".
fn core_of_text(text: &str) -> Option<u32> {
    ["on core ", "CPU"].iter().find_map(|before| {
        let (_, rest) = text.split_once(before)?;
        rest.chars().next()?.to_digit(10)
    })
}

fn hart(dump: &Dump<'_>) -> Option<u32> {
    match dump.machine_state {
        Some(MachineState::Riscv { mhartid, .. }) => Some(mhartid).filter(|core| *core < 2),
        _ => None,
    }
}

/// What the processor says.
struct Exception {
    cause: String,
    reason: String,
}

impl Exception {
    fn of(state: &MachineState) -> Self {
        let (name, address) = match state {
            MachineState::Riscv { mcause, mtval, .. } => (riscv_name(*mcause), *mtval),
            MachineState::Xtensa { cause, address, .. } => (xtensa_name(*cause), *address),
        };
        let Some(name) = name else {
            let (MachineState::Riscv { mcause: number, .. }
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

/// Cause and text of an exception.
#[derive(Clone, Copy)]
struct Named {
    cause: &'static str,
    text: &'static str,
    /// The address register tells which memory it was about.
    of_memory: bool,
}

const fn plain(cause: &'static str, text: &'static str) -> Named {
    Named { cause, text, of_memory: false }
}

const fn memory(cause: &'static str, text: &'static str) -> Named {
    Named { cause, text, of_memory: true }
}

/// The bits of `mcause` that tell the cause. Chips with a core local interrupt controller (CLIC) keep
/// other state above them.
const CAUSE: u32 = 0x8000_0FFF;

/// `mcause` (RISC-V privileged architecture, table of exception codes). ESP-IDF puts the numbers of
/// the interrupts of watchdog, cache and stack guard there (`soc/interrupts.h`).
fn riscv_name(mcause: u32) -> Option<Named> {
    Some(match mcause & CAUSE {
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

/// EXCCAUSE (Xtensa ISA, table of exception causes); 64 and more are the framework's own.
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
    fn texts_tell_the_cause() {
        for (text, cause) in [
            ("abort() was called at PC 0x4200c3d5 on core 0", "abort"),
            ("assert failed: queue.c:1545 (pxQueue->uxItemSize == 0)", "assert"),
            ("***ERROR*** A stack overflow in task main has been detected.", "stack_overflow"),
            ("Task watchdog got triggered. The following tasks did not reset", "task_wdt"),
            ("Interrupt wdt timeout on CPU1", "int_wdt"),
        ] {
            assert_eq!(cause_of_text(text), Some(cause), "{text}");
        }
        assert_eq!(cause_of_text("Guru Meditation"), None);
        assert_eq!(core_of_text("Interrupt wdt timeout on CPU1"), Some(1));
        assert_eq!(core_of_text("abort() was called at PC 0x4200c3d5 on core 0"), Some(0));
    }

    #[test]
    fn exceptions_tell_the_address_and_what_it_looks_like() {
        let state =
            |mcause, mtval| MachineState::Riscv { mstatus: 0, mtvec: 0, mcause, mtval, mhartid: 0 };
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
