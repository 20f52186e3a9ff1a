//! Rows of firmware versions.

use std::sync::Arc;

use async_trait::async_trait;

use crate::audit::Change;
use crate::error::RepositoryError;
use crate::firmware::FirmwareVersion;
use crate::ids::DeviceKey;
use crate::ids::ModelCode;
use crate::ids::VersionText;
use crate::symbolication::index_jobs::IndexStatus;
use crate::timestamp::Timestamp;

/// Rows of firmware versions, and which version of a model is current.
#[async_trait]
pub trait FirmwareRepository: Send + Sync {
    /// The offer for the device of this key, in one indexed query; `None` when the device does not
    /// exist.
    async fn offered_to(&self, key: &DeviceKey)
    -> Result<Option<OfferedFirmware>, RepositoryError>;

    /// The offer for the devices of a model; `None` when the model does not exist.
    async fn offered_by(&self, model_id: i64) -> Result<Option<OfferedFirmware>, RepositoryError>;

    /// The versions of a model, newest first by `uploaded_at`, then `id`; `None` when the model
    /// does not exist. A constant number of statements.
    async fn list(
        &self,
        model_id: i64,
        now: Timestamp,
    ) -> Result<Option<Vec<ListedVersion>>, RepositoryError>;

    async fn find(
        &self,
        model_id: i64,
        version: &VersionText,
    ) -> Result<Option<FirmwareVersion>, RepositoryError>;

    /// Makes a version current; `None` when the version or the model does not exist. Activating the
    /// current version changes nothing and is not audited.
    async fn activate(
        &self,
        model_id: i64,
        version: &VersionText,
        change: &Change,
    ) -> Result<Option<Activation>, RepositoryError>;

    /// Deletes a version that is neither current nor needed by a pending dump of its model, and
    /// queues the deletes of its objects.
    async fn delete(
        &self,
        model_id: i64,
        version: &VersionText,
        change: &Change,
    ) -> Result<VersionDeletion, RepositoryError>;
}

/// The offer for the devices of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedFirmware {
    pub model: ModelCode,
    /// The current version, if the model has one.
    pub version: Option<Arc<FirmwareVersion>>,
}

/// An entry of the list of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    pub version: FirmwareVersion,
    pub current: bool,
    /// Pending dumps of devices of this model that name this version.
    pub pending_coredumps: i64,
    /// The index of its ELF.
    pub index: IndexStatus,
}

/// The outcome of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    pub model: ModelCode,
    /// Whether another version was current before.
    pub changed: bool,
}

/// The outcome of deleting a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionDeletion {
    Deleted,
    /// The version or the model does not exist.
    NotFound,
    /// The version is current; nothing was changed.
    Current,
    /// Pending dumps need the version; nothing was changed.
    NeededByDumps {
        dumps: i64,
    },
}
