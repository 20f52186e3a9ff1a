//! The port to the rows of ROM ELFs.

use async_trait::async_trait;

use crate::artifacts::store::ArtifactFacts;
use crate::audit::Change;
use crate::chip::KnownChip;
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::UploadId;
use crate::rom_elfs::rom_elf::{RomElf, RomElfName};
use crate::timestamp::Timestamp;

/// Rows of ROM ELFs. [`PublicationRepository`](super::PublicationRepository) renews and releases
/// the leases, as for all uploads.
#[async_trait]
pub trait RomElfRepository: Send + Sync {
    /// All rows, by chip and name, both in byte order, then `id`. One statement.
    async fn list(&self) -> Result<Vec<RomElf>, RepositoryError>;

    /// The rows of a chip, in the same order. One statement.
    async fn list_of_chip(&self, chip: KnownChip) -> Result<Vec<RomElf>, RepositoryError>;

    /// Takes the lease of the object of this digest, exclusively, and cancels its queued delete,
    /// unless a row has this digest.
    async fn begin(&self, request: BeginRomElf) -> Result<RomElfStart, RepositoryError>;

    /// Commits an upload: row, audit, and the end of the lease. `None` when the upload no longer
    /// holds the lease; then nothing was changed.
    async fn record(
        &self,
        rom_elf: RecordRomElf,
        change: &Change,
    ) -> Result<Option<RomElf>, RepositoryError>;

    /// Deletes a row and queues the delete of its object; `false` when the row does not exist.
    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;
}

/// The lease which an upload takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginRomElf {
    /// The owner of the lease.
    pub upload: UploadId,
    /// The object about to be written.
    pub sha256: Sha256Digest,
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// The outcome of taking the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RomElfStart {
    /// No row with this digest can be inserted by others while the lease is held.
    Granted,
    /// A row has this digest; no lease was taken.
    Exists(Box<RomElf>),
    /// Another upload or a delete of the object is under way; try again.
    Busy,
}

/// What an upload commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRomElf {
    /// The owner of the lease.
    pub upload: UploadId,
    pub chip: KnownChip,
    pub name: RomElfName,
    /// Length and digest of the object.
    pub facts: ArtifactFacts,
}
