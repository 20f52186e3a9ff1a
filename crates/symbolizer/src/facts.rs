//! What a firmware is, beside its code.

use coredock_domain::digest::Sha256Digest;

use crate::dwarf::TaskBlock;

/// What reports need to know of a firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) elf_sha256: Sha256Digest,
    /// `None` when the debugging information does not tell.
    pub(crate) task_block: Option<TaskBlock>,
    pub(crate) regions: Vec<Region>,
    /// Otherwise the ELF was stripped.
    pub(crate) has_lines: bool,
    /// There are compressed sections, which are not read.
    pub(crate) compressed: bool,
}

/// A section that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) address: u32,
    /// In bytes.
    pub(crate) size: u32,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}
