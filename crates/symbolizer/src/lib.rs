//! The native symbolizer: turns a dump and the ELF of its firmware into a crash report.
//!
//! [`decode()`] reads a dump, unwinds the stack of every task and names the functions on it. It
//! reads what it needs of the ELF from the file itself or from an index that [`build_index`] made
//! of it; both give the same report. Dumps and ELFs come from untrusted sources: this crate never
//! panics on them, never recurses without a limit, and checks every length against the bytes that
//! are there.

mod arguments;
mod code;
mod decode;
mod demangle;
mod dump;
mod dwarf;
mod elf;
mod facts;
mod firmware;
mod index;
mod parameters;
mod report;
mod rom;
mod sources;
mod tasks;
mod unwind;
mod words;

pub use arguments::{Argument, ArgumentValue};
pub use decode::{DecodeError, chip_of, decode, decode_unwrapped};
pub use dump::DumpError;
pub use elf::{ElfError, MAX_ELF_BYTES};
pub use firmware::Firmware;
pub use index::{INDEX_FORMAT, Index, IndexError, build as build_index};
pub use report::{
    Build, BuildMatch, Frame, FrameClass, Panic, Report, Signature, StructuredReport, TaskReport,
};
pub use rom::Rom;
pub use sources::Source;
pub use tasks::StackUse;
pub use unwind::{Before, End, Trust};
