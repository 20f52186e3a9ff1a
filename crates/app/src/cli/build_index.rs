//! `coredock build-index`: the child of the native symbolizer.

use coredock_symbolizer_native::child::{self, BROKEN, ChildError, ELF_UNREADABLE};

use super::{DONE, fail};

pub(super) fn run() -> u8 {
    match child::run() {
        Ok(()) => DONE,
        Err(ChildError::Elf(error)) => refuse(&error),
        Err(error @ ChildError::Broken(_)) => fail(&error, BROKEN),
    }
}

/// The parent reads this line and passes it on.
#[expect(clippy::print_stderr, reason = "this is where the parent reads it")]
fn refuse(error: &impl std::fmt::Display) -> u8 {
    eprintln!("{error}");
    ELF_UNREADABLE
}
