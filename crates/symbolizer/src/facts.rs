//! What a report needs from a firmware besides its code.

use coredock_domain::digest::Sha256Digest;

use crate::dwarf::TaskBlock;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) elf_sha256: Sha256Digest,
    /// `None` if the debugging information does not describe it.
    pub(crate) task_block: Option<TaskBlock>,
    pub(crate) regions: Vec<Region>,
    /// False for a stripped ELF.
    pub(crate) has_lines: bool,
    /// The ELF has compressed sections, which are not read.
    pub(crate) compressed: bool,
}

/// A loaded section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) address: u32,
    /// In bytes.
    pub(crate) size: u32,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}
