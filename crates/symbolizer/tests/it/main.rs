//! The public interface of the symbolizer: whole dumps and ELFs in, reports out.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

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
