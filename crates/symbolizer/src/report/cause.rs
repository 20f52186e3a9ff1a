//! The cause of a crash.

use super::class::{FrameClass, without_wrapper};
use super::exception::{Exception, cause_named_in};
use super::{Frame, up_to_interrupt};
use crate::dump::{Crashed, Dump, MachineState, Registers};
use crate::unwind::Trust;
use crate::words::{printable, until_nul};

/// Longest panic text that is shown.
const MAX_TEXT_BYTES: usize = 4096;
/// Functions that ended the program: C++ and Rust have up to ten.
const MAX_ENDING_FUNCTIONS: usize = 16;
/// The register of the first argument: a0 of RISC-V, a2 of Xtensa.
const RISCV_ARGUMENT: usize = 10;
const XTENSA_ARGUMENT: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The text of the panic handler or of the cause register, otherwise the function that shows
    /// the cause.
    pub reason: Option<String>,
    /// One of the values of contract §6.9.
    pub cause: String,
    /// The core that crashed.
    pub core: Option<u32>,
    pub pc: Option<u32>,
    /// Names of the tasks that caused the crash, as far as the cause allows to say; the main
    /// culprit first.
    pub guilty: Vec<String>,
}

/// Texts, and the causes they mean. The first of them in the panic text counts: those after it are
/// quotations.
const CAUSES_BY_TEXT: [(&str, &str); 23] = [
    // newlib `assert.c`, with the changes of ESP-IDF
    ("assert failed", "assert"),
    ("assertion \"", "assert"),
    // ESP-IDF `multi_heap.c`, `multi_heap_poisoning.c`
    ("CORRUPT HEAP", "assert"),
    // `esp_err.c`
    ("ESP_ERROR_CHECK failed", "abort"),
    ("ESP_ERROR_CHECK_WITHOUT_ABORT failed", "abort"),
    // `stack_check.c`
    ("Stack smashing", "stack_smashing"),
    // `port.c`, `vApplicationStackOverflowHook`
    ("stack overflow in task", "stack_overflow"),
    // `panic_arch.c`
    ("Stack protection fault", "stack_overflow"),
    ("Stack canary watchpoint triggered", "stack_overflow"),
    // `task_wdt.c`
    ("Task watchdog got triggered", "task_wdt"),
    // `panic_arch.c`
    ("Interrupt wdt timeout", "int_wdt"),
    ("Interrupt watchdog timeout", "int_wdt"),
    ("Cache error", "cache_error"),
    ("Cache disabled but cached memory", "cache_error"),
    // `brownout.c`: the power supply failed, not the firmware
    ("Brownout detector was triggered", "unknown"),
    // libstdc++ `vterminate.cc`, `pure.cc`
    ("terminate called after throwing an instance of", "abort"),
    ("terminate called without an active exception", "abort"),
    ("terminate called recursively", "abort"),
    ("pure virtual method called", "abort"),
    ("deleted virtual method called", "abort"),
    // Rust `std/src/panicking.rs`
    ("panicked at", "abort"),
    ("panicked after panic::always_abort()", "abort"),
    ("fatal runtime error:", "abort"),
];

/// ESP-IDF `abort.c`. Many causes end there, and functions on the stack may show which.
const ABORT_TEXT: &str = "abort() was called";

/// Functions that show the cause if the text does not.
const CAUSES_BY_FUNCTION: [(&str, &str); 20] = [
    // ESP-IDF `task_wdt.c`
    ("task_wdt_isr", "task_wdt"),
    ("task_wdt_timeout_handling", "task_wdt"),
    ("task_wdt_timeout_abort", "task_wdt"),
    ("task_wdt_timeout_abort_xtensa", "task_wdt"),
    // newlib `assert.c`, ESP-IDF `multi_heap.c`
    ("__assert_func", "assert"),
    ("__assert", "assert"),
    ("multi_heap_assert", "assert"),
    // ESP-IDF `stack_check.c`, `port.c`
    ("__stack_chk_fail", "stack_smashing"),
    ("vApplicationStackOverflowHook", "stack_overflow"),
    // ESP-IDF `esp_err.c`, `esp_system.c`, `panic.c`, newlib `abort.c`
    ("_esp_error_check_failed", "abort"),
    ("esp_system_abort", "abort"),
    ("panic_abort", "abort"),
    ("abort", "abort"),
    // libstdc++ `eh_terminate.cc`, `pure.cc`
    ("std::terminate()", "abort"),
    ("__cxa_pure_virtual", "abort"),
    ("__cxa_deleted_virtual", "abort"),
    // Rust `std/src/panicking.rs`, `panic_abort/src/lib.rs`
    ("rust_begin_unwind", "abort"),
    ("rust_panic", "abort"),
    ("__rust_start_panic", "abort"),
    ("__rust_abort", "abort"),
];
const ABORTING_PREFIXES: [&str; 2] = ["core::panicking::", "std::panicking::"];

impl Panic {
    pub(super) fn of(dump: &Dump<'_>, frames: &[Frame]) -> Self {
        // Frames of the task that an interrupt handler interrupted have no part in its crash.
        let frames = up_to_interrupt(frames);
        let text = dump.panic_details.map(shown).or_else(|| abort_text(dump, frames));
        let text = text.filter(|text| !text.is_empty());
        let exception = dump.machine_state.as_ref().map(Exception::of);
        let by_function = by_functions(frames);
        let by_text = text.as_deref().and_then(cause_of_text);
        let aborted = text.as_deref().filter(|text| text.contains(ABORT_TEXT)).map(|_| "abort");
        // The trap that ends `abort` is not a cause.
        let cause = by_text.or(by_function.as_ref().map(|(_, cause)| *cause)).or(aborted);
        let by_exception = || exception.as_ref().map(|exception| exception.cause.clone());
        let unknown = || "unknown".to_owned();
        let cause = match cause.map(str::to_owned) {
            Some(cause) => cause,
            None if dump.crashed == Crashed::Unusable => unknown(),
            None => by_exception().unwrap_or_else(unknown),
        };
        let by_function = by_function.map(|(function, _)| format!("{function} was called"));
        let reason = text.or(by_function).or_else(|| exception.map(|e| e.reason));
        let core = reason.as_deref().filter(|_| cause != "task_wdt").and_then(core_of_text);
        let pc = dump.crashed_task().map(|task| task.registers.pc());
        Self { reason, cause, core: core.or(hart(dump)), pc, guilty: Vec::new() }
    }
}

fn shown(text: &[u8]) -> String {
    let text = until_nul(text);
    let text = text.get(..MAX_TEXT_BYTES).unwrap_or(text);
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\r').collect();
    printable(&text).trim_end().to_owned()
}

fn cause_of_text(text: &str) -> Option<&'static str> {
    let found = CAUSES_BY_TEXT.iter().filter_map(|(part, cause)| Some((text.find(part)?, *cause)));
    let first = found.min_by_key(|(place, _)| *place).map(|(_, cause)| cause);
    first.or_else(|| cause_named_in(text))
}

/// The function that shows the cause, and the cause. A function that leads to an abort says more
/// than those that carry it out.
fn by_functions(frames: &[Frame]) -> Option<(String, &'static str)> {
    let names = ending_functions(frames);
    let known = |(function, _): &&(&str, &str)| names.iter().any(|name| name == function);
    let known = CAUSES_BY_FUNCTION.iter().filter(|(_, cause)| *cause != "abort").find(known);
    if let Some((function, cause)) = known {
        return Some(((*function).to_owned(), cause));
    }
    let aborts = |name: &String| {
        let name = without_wrapper(name);
        let listed = CAUSES_BY_FUNCTION.iter().any(|(function, _)| *function == name);
        listed || ABORTING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    names.iter().any(aborts).then_some((names.last()?.clone(), "abort"))
}

/// Names of the functions that ended the program, innermost first. The instruction that ends it may
/// be in an inlined function.
fn ending_functions(frames: &[Frame]) -> Vec<String> {
    let Some(pc) = frames.first().map(|frame| frame.pc) else { return Vec::new() };
    let ends =
        |frame: &&Frame| frame.class() == FrameClass::Machinery && frame.trust != Trust::Scan;
    let from_first = frames.iter().skip_while(|frame| frame.pc == pc && !ends(frame));
    let mut ending = from_first.take(MAX_ENDING_FUNCTIONS).take_while(ends).peekable();
    if ending.peek().is_none_or(|frame| frame.pc != pc) {
        return Vec::new();
    }
    ending.filter_map(Frame::plain_name).collect()
}

/// The text that `panic_abort` was called with, which is on the stack and so in the dump.
fn abort_text(dump: &Dump<'_>, frames: &[Frame]) -> Option<String> {
    let pc = frames.first()?.pc;
    let mut innermost = frames.iter().take_while(|frame| frame.pc == pc);
    innermost.find(|frame| frame.source.function.as_deref() == Some("panic_abort"))?;
    let pointer = match &dump.crashed_task()?.registers {
        Registers::RiscV(registers) => registers.0[RISCV_ARGUMENT],
        Registers::Xtensa(registers) => registers.window[XTENSA_ARGUMENT],
    };
    let text = until_nul(dump.memory.from(pointer)?);
    let text = text.get(..MAX_TEXT_BYTES).unwrap_or(text);
    let plain = !text.is_empty()
        && text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'));
    plain.then(|| shown(text))
}

/// "… on core 0", "… Error: Core  1 panic'ed", "… timeout on CPU1".
fn core_of_text(text: &str) -> Option<u32> {
    ["on core ", "Error: Core ", "timeout on CPU"].iter().find_map(|before| {
        let (_, rest) = text.split_once(before)?;
        rest.trim_start().chars().next()?.to_digit(10)
    })
}

fn hart(dump: &Dump<'_>) -> Option<u32> {
    match dump.machine_state {
        Some(MachineState::RiscV { mhartid, .. }) => Some(mhartid).filter(|core| *core < 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_decide_the_cause() {
        for (text, cause) in [
            ("assert failed: queue.c:1545 (pxQueue->uxItemSize == 0)", "assert"),
            ("assertion \"x\" failed: file \"a.c\", line 3, function: f", "assert"),
            ("CORRUPT HEAP: Bad head at 0x3ffb5000. Expected 0xabba1234 got 0x0", "assert"),
            ("***ERROR*** A stack overflow in task main has been detected.", "stack_overflow"),
            ("Task watchdog got triggered. The following tasks did not reset", "task_wdt"),
            ("Interrupt wdt timeout on CPU1", "int_wdt"),
            ("Brownout detector was triggered", "unknown"),
            ("thread 'main' panicked at 'Cache error', src/main.rs:10:5", "abort"),
        ] {
            assert_eq!(cause_of_text(text), Some(cause), "{text}");
        }
        assert_eq!(cause_of_text("Guru Meditation"), None);
        assert_eq!(cause_of_text("abort() was called at PC 0x4200c3d5 on core 0"), None);
    }

    #[test]
    fn texts_name_the_core() {
        let guru = "Guru Meditation Error: Core  1 panic'ed (Interrupt wdt timeout on CPU1).";
        assert_eq!(core_of_text(guru), Some(1));
        assert_eq!(core_of_text("Interrupt wdt timeout on CPU1"), Some(1));
        assert_eq!(core_of_text("abort() was called at PC 0x4200c3d5 on core 0"), Some(0));
    }
}
