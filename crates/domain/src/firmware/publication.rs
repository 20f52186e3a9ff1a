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
    /// written. `Busy` when another publication holds the lease or a delete of such a key has
    /// begun and its own lease has not ended.
    async fn begin(&self, request: BeginPublication) -> Result<PublicationStart, RepositoryError>;

    /// Extends the leases of an upload to `until`; `false` when it no longer holds them.
    async fn renew(
        &self,
        upload: &UploadId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Gives the leases of an upload back; without effect when it holds none.
    async fn end(&self, upload: &UploadId) -> Result<(), RepositoryError>;

    /// The commit: version row, pointer, retention with its queued deletes, audit. Uploads of the
    /// same model are serialized. `None` when the upload no longer holds its leases or the model
    /// does not exist any more; then nothing was changed.
    async fn publish(
        &self,
        publication: PublishVersion,
        change: &Change,
    ) -> Result<Option<Published>, RepositoryError>;

    /// Takes away the mark "read from staging" if the row still holds the set of this upload, and
    /// queues the deletes of the staged objects; `false` when it does not.
    async fn settle(
        &self,
        version_id: i64,
        staging: &UploadId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Versions that are still read from staging and whose publication is not under way, at most
    /// `limit`.
    async fn unsettled(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<FirmwareVersion>, RepositoryError>;
}

/// The lease a publication asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginPublication {
    /// Who asks.
    pub upload: UploadId,
    /// Row of the model.
    pub model_id: i64,
    /// Code of the model.
    pub model: ModelCode,
    /// The version about to be written.
    pub version: VersionText,
    /// The build about to be written.
    pub elf_sha256: crate::digest::Sha256Digest,
    /// The present.
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// How taking the lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicationStart {
    /// The lease is held; this is the row of (model, version), if there is one.
    Granted {
        /// The set held at this moment; no other upload can replace it while the lease is held.
        held: Option<Box<FirmwareVersion>>,
    },
    /// Somebody else is at it; try again.
    Busy,
}

/// What a publication commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishVersion {
    /// Holder of the leases.
    pub upload: UploadId,
    /// Row of the model.
    pub model_id: i64,
    /// The version text.
    pub version: VersionText,
    /// What is known of the set.
    pub facts: FirmwareFacts,
    /// Where the objects of the set are to be read from.
    pub objects: PublishedObjects,
    /// How many versions of a model are kept (`MAX_FIRMWARES`, at least 1).
    pub kept_versions: u32,
}

/// Where the objects of a set are when its row is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedObjects {
    /// Under the deterministic keys.
    InPlace,
    /// Under `staging/{upload}/`, until [`PublicationRepository::settle`].
    Staged,
    /// The set is identical to the held one: only `uploaded_at` and the pointer change.
    Unchanged,
}

/// What a publication changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Row of the version.
    pub version_id: i64,
    /// Whether another version text, or none, was current before.
    pub pointer_changed: bool,
    /// Versions that retention deleted.
    pub pruned: Vec<VersionText>,
    /// Versions beyond the limit that pending dumps protect.
    pub protected: Vec<VersionText>,
}
