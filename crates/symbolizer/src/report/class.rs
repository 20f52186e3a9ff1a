//! What part a frame has in a crash.

use super::Frame;
use crate::unwind::Trust;

/// A frame by its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// What ends a program, whatever went wrong before.
    Machinery,
    /// What everything calls: memory, strings, heap, locks.
    Library,
    /// The framework or a toolchain.
    Framework,
    /// The project.
    Application,
    /// Without a name, or found by searching.
    Unknown,
}

const MACHINERY: [&str; 22] = [
    "abort",
    "panic_abort",
    "esp_system_abort",
    "__assert_func",
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
    "rust_begin_unwind",
    "rust_panic",
    "std::terminate()",
    "__cxa_throw",
    "__cxxabiv1::__terminate(void (*)())",
    "__verbose_terminate_handler",
    "raise",
];
const MACHINERY_BEGINNINGS: [&str; 3] = ["__ubsan_", "core::panicking::", "std::panicking::"];

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
const LIBRARY_BEGINNINGS: [&str; 8] = [
    "heap_caps_",
    "multi_heap_",
    "tlsf_",
    "xQueue",
    "xSemaphore",
    "xStreamBuffer",
    "ets_",
    "_svfprintf_r",
];

/// Roots of what is not the project's.
const OUTSIDE: [&str; 4] = ["esp-idf", "IDF/components/", "/rustc/", "/opt/"];

impl FrameClass {
    pub(super) fn of(frame: &Frame) -> Self {
        let Some(name) = frame.source.function.as_deref() else { return Self::Unknown };
        let begins = |beginnings: &[&str]| beginnings.iter().any(|start| name.starts_with(start));
        if MACHINERY.contains(&name) || begins(&MACHINERY_BEGINNINGS) {
            Self::Machinery
        } else if frame.trust == Trust::Scan {
            Self::Unknown
        } else if LIBRARY.contains(&name) || begins(&LIBRARY_BEGINNINGS) {
            Self::Library
        } else {
            match frame.source.file.as_deref() {
                None => Self::Framework,
                Some(file) if OUTSIDE.iter().any(|root| file.starts_with(root)) => Self::Framework,
                Some(_) => Self::Application,
            }
        }
    }

    /// The text in reports.
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
