//! Reads of configurations that fail or hang: a wrapper of the port.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coredock::adapters::Adapters;
use coredock_domain::audit::Change;
use coredock_domain::devices::device::{
    Device, DeviceFilter, DeviceSummary, DeviceUpdate, NewDevice,
};
use coredock_domain::devices::repository::{DeviceRepository, StoredConfig};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::DeviceKey;
use coredock_testkit::gate::Gate;

/// A fault of the database.
#[derive(Debug, Clone)]
pub(crate) enum ReadFault {
    /// The database cannot be reached.
    Down,
    /// The database answers only when the gate opens.
    Hangs(Gate),
}

/// Fails reads of configurations on demand.
#[derive(Default)]
pub(crate) struct FailingDevices(Mutex<Option<ReadFault>>);

impl FailingDevices {
    /// Sets the fault of the following reads; with `None` they succeed.
    pub(crate) fn set(&self, fault: Option<ReadFault>) {
        *self.0.lock().unwrap() = fault;
    }

    /// Wraps the repository in `adapters`.
    pub(crate) fn wrap(self: &Arc<Self>, mut adapters: Adapters) -> Adapters {
        let inner = adapters.rows.devices.clone();
        adapters.rows.devices = Arc::new(Failing { inner, faults: self.clone() });
        adapters
    }
}

struct Failing {
    inner: Arc<dyn DeviceRepository>,
    faults: Arc<FailingDevices>,
}

#[async_trait]
impl DeviceRepository for Failing {
    async fn stored_config(
        &self,
        key: &DeviceKey,
    ) -> Result<Option<StoredConfig>, RepositoryError> {
        let fault = self.faults.0.lock().unwrap().clone();
        match fault {
            None => {}
            Some(ReadFault::Down) => {
                return Err(RepositoryError::unavailable("device.stored_config", "refused"));
            }
            Some(ReadFault::Hangs(gate)) => gate.pass().await,
        }
        self.inner.stored_config(key).await
    }

    async fn list(&self, filter: DeviceFilter) -> Result<Vec<DeviceSummary>, RepositoryError> {
        self.inner.list(filter).await
    }

    async fn create(
        &self,
        device: NewDevice,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError> {
        self.inner.create(device, change).await
    }

    async fn find(&self, id: i64) -> Result<Option<Device>, RepositoryError> {
        self.inner.find(id).await
    }

    async fn update(
        &self,
        id: i64,
        update: DeviceUpdate,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError> {
        self.inner.update(id, update, change).await
    }

    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        self.inner.delete(id, change).await
    }
}
