//! From a stored dump to its report (contract §6.5–§6.9).

pub(crate) mod attempt;
pub(crate) mod elf_choice;
mod held_elf;
pub mod index_jobs;
pub mod indexes;
pub mod jobs;
pub mod symbolizer;
pub mod worker;
