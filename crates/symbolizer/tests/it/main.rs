//! The symbolizer from outside: whole dumps and ELFs in, reports out.

mod elf_builder;
mod hostile_elfs;
