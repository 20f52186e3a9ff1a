//! The port to the rows of devices.

use async_trait::async_trait;

use crate::audit::Change;
use crate::devices::device::{Device, DeviceFilter, DeviceSummary, DeviceUpdate, NewDevice};
use crate::error::RepositoryError;
use crate::ids::{DeviceKey, ModelCode};

/// Rows of devices. A method which returns `Option` returns `None` when the device does not exist.
#[async_trait]
pub trait DeviceRepository: Send + Sync {
    /// The devices that pass the filter, by key in byte order.
    async fn list(&self, filter: DeviceFilter) -> Result<Vec<DeviceSummary>, RepositoryError>;

    /// Adds an active device; `None` when its model does not exist. `Conflict` when the key is
    /// taken.
    async fn create(
        &self,
        device: NewDevice,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError>;

    async fn find(&self, id: i64) -> Result<Option<Device>, RepositoryError>;

    /// The stored configuration of a device, in one statement.
    async fn stored_config(&self, key: &DeviceKey)
    -> Result<Option<StoredConfig>, RepositoryError>;

    async fn update(
        &self,
        id: i64,
        update: DeviceUpdate,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError>;

    /// Deletes a device and its dumps, and queues the deletes of their objects; `false` when the
    /// device does not exist.
    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;
}

/// A stored configuration, and the model of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConfig {
    pub model: ModelCode,
    /// The JSON text, byte for byte as it was received.
    pub text: String,
}
