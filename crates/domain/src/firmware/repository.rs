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

/// Keeps firmware versions and the pointer to the current one.
#[async_trait]
pub trait FirmwareRepository: Send + Sync {
    /// What is offered to the device of this key, in one indexed query; `None` when there is no
    /// such device.
    async fn offered_to(&self, key: &DeviceKey)
    -> Result<Option<OfferedFirmware>, RepositoryError>;

    /// What is offered to the devices of a model; `None` when there is no such model.
    async fn offered_by(&self, model_id: i64) -> Result<Option<OfferedFirmware>, RepositoryError>;

    /// The versions of a model, newest first by `uploaded_at`, then `id`; `None` when there is no
    /// such model. A constant number of statements.
    async fn list(
        &self,
        model_id: i64,
        now: Timestamp,
    ) -> Result<Option<Vec<ListedVersion>>, RepositoryError>;

    /// One version of a model.
    async fn find(
        &self,
        model_id: i64,
        version: &VersionText,
    ) -> Result<Option<FirmwareVersion>, RepositoryError>;

    /// Makes a held version current; `None` when there is no such version or model. Activating the
    /// current one changes nothing and is not audited.
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

/// The model of a device and the version it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedFirmware {
    /// Code of the model, as its row has it.
    pub model: ModelCode,
    /// The row the pointer of the model names.
    pub version: Option<Arc<FirmwareVersion>>,
}

/// One line of the list of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The version.
    pub version: FirmwareVersion,
    /// Whether the pointer of the model names it.
    pub current: bool,
    /// Pending dumps of devices of this model that name this version.
    pub pending_coredumps: i64,
    /// The index of its ELF.
    pub index: IndexStatus,
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Code of the model.
    pub model: ModelCode,
    /// Whether another version was current before.
    pub changed: bool,
}

/// How the deletion of a version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionDeletion {
    /// It was deleted.
    Deleted,
    /// There is no such version or model.
    NotFound,
    /// It is the current one; nothing was changed.
    Current,
    /// Pending dumps need it; nothing was changed.
    NeededByDumps {
        /// How many.
        dumps: i64,
    },
}
