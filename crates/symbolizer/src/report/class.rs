//! Classes of frames by their part in a crash.

use super::Frame;
use crate::unwind::Trust;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// Ends a program, whatever the fault was.
    Machinery,
    /// Called by everything: memory, strings, heap, locks.
    Library,
    /// The framework or a toolchain.
    Framework,
    /// The code of the project.
    Application,
    /// Without a name, or found by searching the stack.
    Unknown,
}

/// Functions of C, as ESP-IDF and newlib name them.
const MACHINERY: [&str; 20] = [
    "abort",
    "raise",
    "panic_abort",
    "esp_system_abort",
    "__assert_func",
    "__assert",
    "multi_heap_assert",
    "_esp_error_check_failed",
    "_esp_error_check_failed_without_abort",
    "__stack_chk_fail",
    "vApplicationStackOverflowHook",
    "vPanicHandler",
    "panicHandler",
    "panic_handler",
    "esp_panic_handler",
    "xt_unhandled_exception",
    "task_wdt_isr",
    "task_wdt_timeout_handling",
    "task_wdt_timeout_abort",
    "task_wdt_timeout_abort_xtensa",
];
const MACHINERY_PREFIX: &str = "__ubsan_";

/// Functions between a failure and `abort`, first of C++ (libstdc++ `eh_terminate.cc`,
/// `vterminate.cc`, `eh_throw.cc`, `pure.cc`, `functexcept.cc`; libgcc `unwind.inc`), then of Rust
/// (`core/src/panicking.rs` and its callers, `std/src/panicking.rs`, `panic_abort/src/lib.rs`).
const LANGUAGES: [&str; 33] = [
    "std::terminate()",
    "std::unexpected()",
    "__cxxabiv1::__terminate(void (*)())",
    "__cxxabiv1::__unexpected(void (*)())",
    "__gnu_cxx::__verbose_terminate_handler()",
    "__cxa_throw",
    "__cxa_rethrow",
    "__cxa_allocate_exception",
    "__cxa_call_terminate",
    "__cxa_call_unexpected",
    "__cxa_pure_virtual",
    "__cxa_deleted_virtual",
    "__cxa_bad_cast",
    "__cxa_bad_typeid",
    "__cxa_throw_bad_array_new_length",
    "__gxx_personality_v0",
    "_Unwind_RaiseException",
    "_Unwind_Resume",
    "_Unwind_Resume_or_Rethrow",
    "rust_begin_unwind",
    "rust_panic",
    "__rust_start_panic",
    "__rust_abort",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
    "__rust_alloc_error_handler",
    "std::process::abort",
    "std::sys::pal::unix::abort_internal",
    "std::sys::unix::abort_internal",
];
/// Not all of `std::panicking`: the functions that catch a panic are at the bottom of each thread.
const LANGUAGE_PREFIXES: [&str; 13] = [
    "std::__throw_",
    "core::panicking::",
    "core::cell::panic_already_",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "std::alloc::rust_oom",
    "std::panicking::begin_panic",
    "std::panicking::default_hook",
    "std::panicking::panic",
    "std::panicking::rust_panic",
    "std::sys::backtrace::__rust_end_short_backtrace",
    "std::sys_common::backtrace::__rust_end_short_backtrace",
    "panic_abort::",
];
/// Prefixes of functions that the linker replaces (`--wrap`), and of the runtime of Rust in new
/// compilers.
const WRAPPERS: [&str; 2] = ["__wrap_", "__rustc::"];

const LIBRARY: [&str; 42] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "_malloc_r",
    "_calloc_r",
    "_realloc_r",
    "_free_r",
    "operator new(unsigned int)",
    "operator delete(void*)",
    "vPortEnterCritical",
    "vPortExitCritical",
    "vPortEnterCriticalMultiCore",
    "vPortExitCriticalMultiCore",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "memchr",
    "strlen",
    "strnlen",
    "strcpy",
    "strncpy",
    "strlcpy",
    "strcat",
    "strncat",
    "strlcat",
    "strcmp",
    "strncmp",
    "strcasecmp",
    "strchr",
    "strrchr",
    "strstr",
    "strdup",
    "printf",
    "vprintf",
    "snprintf",
    "vsnprintf",
    "sprintf",
    "_vfprintf_r",
];
const LIBRARY_PREFIXES: [&str; 8] = [
    "heap_caps_",
    "multi_heap_",
    "tlsf_",
    "xQueue",
    "xSemaphore",
    "xStreamBuffer",
    "ets_",
    "_svfprintf_r",
];

/// Beginnings of paths outside the project.
const FRAMEWORK_ROOTS: [&str; 4] = ["esp-idf", "IDF/components/", "/rustc/", "/opt/"];

impl FrameClass {
    pub(super) fn of(frame: &Frame) -> Self {
        let Some(name) = frame.plain_name() else { return Self::Unknown };
        let name = &*name;
        let begins = |prefixes: &[&str]| prefixes.iter().any(|start| name.starts_with(start));
        let machinery = MACHINERY.contains(&name) || name.starts_with(MACHINERY_PREFIX);
        if machinery || is_language_machinery(name) {
            Self::Machinery
        } else if frame.trust == Trust::Scan {
            Self::Unknown
        } else if LIBRARY.contains(&name) || begins(&LIBRARY_PREFIXES) {
            Self::Library
        } else {
            match frame.source.file.as_deref() {
                None => Self::Framework,
                Some(file) if FRAMEWORK_ROOTS.iter().any(|root| file.starts_with(root)) => {
                    Self::Framework
                }
                Some(_) => Self::Application,
            }
        }
    }

    /// The value in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Machinery => "machinery",
            Self::Library => "library",
            Self::Framework => "framework",
            Self::Application => "application",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether C++ or Rust end a program by this function.
pub(super) fn is_language_machinery(name: &str) -> bool {
    let name = without_wrapper(name);
    LANGUAGES.contains(&name) || LANGUAGE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn without_wrapper(name: &str) -> &str {
    WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)).unwrap_or(name)
}
