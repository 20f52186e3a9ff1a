//! Rows of ROM ELFs.

use async_trait::async_trait;

use crate::artifacts::store::ArtifactFacts;
use crate::audit::Change;
use crate::chip::KnownChip;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::UploadId;
use crate::rom_elfs::rom_elf::{RomElf, RomElfName};
use crate::timestamp::Timestamp;

/// Keeps ROM ELFs. Leases are extended and given back by
/// [`PublicationRepository`](super::PublicationRepository), as those of all uploads.
#[async_trait]
pub trait RomElfRepository: Send + Sync {
    /// All of them, by chip, name, both in byte order, and `id`. One statement.
    async fn list(&self) -> Result<Vec<RomElf>, RepositoryError>;

    /// Those of a chip, in the same order. One statement.
    async fn list_of_chip(&self, chip: KnownChip) -> Result<Vec<RomElf>, RepositoryError>;

    /// Takes the lease of the object of this digest, exclusively, and cancels its queued delete,
    /// unless there is a row of it.
    async fn begin(&self, request: BeginRomElf) -> Result<RomElfStart, RepositoryError>;

    /// The commit: row, audit, and the end of the lease. `None` when the upload no longer holds
    /// it; then nothing was changed.
    async fn record(
        &self,
        rom_elf: RecordRomElf,
        change: &Change,
    ) -> Result<Option<RomElf>, RepositoryError>;

    /// Deletes a row and queues the delete of its object; `false` when there is none.
    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;
}

/// The lease an upload asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginRomElf {
    /// Who asks.
    pub upload: UploadId,
    /// The object about to be written.
    pub sha256: Sha256Digest,
    /// The present.
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// How taking the lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RomElfStart {
    /// The lease is held, and there is no row of this digest while it is.
    Granted,
    /// There is a row of this digest; no lease was taken.
    Held(Box<RomElf>),
    /// Somebody else writes the object, or its delete has begun; try again.
    Busy,
}

/// What an upload commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRomElf {
    /// Holder of the lease.
    pub upload: UploadId,
    /// Whose ROM it is.
    pub chip: KnownChip,
    /// What it is called.
    pub name: RomElfName,
    /// Length and digest of the object.
    pub facts: ArtifactFacts,
}
