//! Rows of devices.

use async_trait::async_trait;

use crate::audit::Change;
use crate::devices::device::{Device, DeviceFilter, DeviceSummary, DeviceUpdate, NewDevice};
use crate::error::RepositoryError;
use crate::ids::DeviceKey;

/// Keeps devices.
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

    /// The device of this id.
    async fn find(&self, id: i64) -> Result<Option<Device>, RepositoryError>;

    /// The stored configuration text of the device of this key.
    async fn config_text(&self, key: &DeviceKey) -> Result<Option<String>, RepositoryError>;

    /// Changes a device; `None` when there is none of this id.
    async fn update(
        &self,
        id: i64,
        update: DeviceUpdate,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError>;

    /// Deletes a device and its dumps, and queues the deletes of their objects; `false` when there
    /// is none of this id.
    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;
}
