//! `coredock build-index`: the child of the native symbolizer.

use coredock_symbolizer_native::child::{self, ChildError, ELF_UNREADABLE, IO_FAILED};

use super::{DONE, fail};

pub(super) fn run() -> u8 {
    match child::run() {
        Ok(()) => DONE,
        Err(ChildError::Elf(error)) => refuse(&error),
        Err(error @ ChildError::Io(_)) => fail(&error, IO_FAILED),
    }
}

/// The parent process reads this line and adds it to its own error.
#[expect(clippy::print_stderr, reason = "the parent process reads standard error")]
fn refuse(error: &impl std::fmt::Display) -> u8 {
    eprintln!("{error}");
    ELF_UNREADABLE
}
