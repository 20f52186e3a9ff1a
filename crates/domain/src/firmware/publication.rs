//! The commits of a publication, and the leases that keep publications apart (contract §5.7, §5.8).

use async_trait::async_trait;

use crate::audit::Change;
use crate::error::RepositoryError;
use crate::firmware::{FirmwareFacts, FirmwareVersion};
use crate::ids::ModelCode;
use crate::ids::UploadId;
use crate::ids::VersionText;
use crate::timestamp::Timestamp;

/// Commits publications.
#[async_trait]
pub trait PublicationRepository: Send + Sync {
    /// Takes the lease of (model, version), exclusively, and of the symbols of the build, shared
    /// with other publications of the same build; cancels queued deletes of the keys about to be
    /// written. `Busy` when another publication holds the lease, or when a delete of one of these
    /// keys was claimed and its lease has not ended.
    async fn begin(&self, request: BeginPublication) -> Result<PublicationStart, RepositoryError>;

    /// Extends the leases of an upload to `until`; `false` when it no longer holds them.
    async fn renew(
        &self,
        upload: &UploadId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Releases the leases of an upload; no effect when it holds none.
    async fn end(&self, upload: &UploadId) -> Result<(), RepositoryError>;

    /// Commits a publication: version row, current version, retention with its queued deletes,
    /// audit. Uploads of the same model are serialized. `None` when the upload no longer holds its
    /// leases or the model does not exist any more; then nothing was changed.
    async fn publish(
        &self,
        publication: PublishVersion,
        change: &Change,
    ) -> Result<Option<Published>, RepositoryError>;

    /// Commits the settling of a set whose copy was checked: from now on it is read from its final
    /// keys, and the deletes of the staged objects are queued. `false` when the row no longer
    /// refers to the staged set of this upload; then nothing was changed.
    async fn settle(
        &self,
        version_id: i64,
        staging: &UploadId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Versions that are not settled and whose publication is not under way, at most `limit`.
    async fn unsettled(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<FirmwareVersion>, RepositoryError>;
}

/// The leases which a publication takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginPublication {
    /// The owner of the leases.
    pub upload: UploadId,
    pub model_id: i64,
    pub model: ModelCode,
    /// The version about to be written.
    pub version: VersionText,
    /// The build about to be written.
    pub elf_sha256: crate::digest::Sha256Digest,
    pub now: Timestamp,
    /// When the leases end by themselves.
    pub until: Timestamp,
}

/// The outcome of taking the leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicationStart {
    Granted {
        /// The row of (model, version). No other upload can replace it while the lease is held.
        existing: Option<Box<FirmwareVersion>>,
    },
    /// Another publication or a delete is under way; try again.
    Busy,
}

/// What a publication commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishVersion {
    /// The owner of the leases.
    pub upload: UploadId,
    pub model_id: i64,
    pub version: VersionText,
    pub facts: FirmwareFacts,
    pub objects: PublishedObjects,
    /// Retention keeps this many versions of a model (`MAX_FIRMWARES`, at least 1).
    pub max_versions: u32,
}

/// Where the objects of a set are when its row is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedObjects {
    /// Under the final keys.
    InPlace,
    /// Under `staging/{upload}/`, until [`PublicationRepository::settle`].
    Staged,
    /// The stored set is identical: only `uploaded_at` and the current version change.
    Unchanged,
}

/// What a publication changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub version_id: i64,
    /// Whether another version, or none, was current before.
    pub pointer_changed: bool,
    /// Versions that retention deleted.
    pub pruned: Vec<VersionText>,
    /// Versions beyond the limit that are kept because pending dumps need them.
    pub protected: Vec<VersionText>,
}
