//! The public interface of the symbolizer: whole dumps and ELFs in, reports out.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod bad_dumps;
mod call_stack;
mod causes;
mod containers;
mod elf_builder;
mod fixtures;
mod hostile_elfs;
mod roms;
mod stacks;
mod xtensa;
