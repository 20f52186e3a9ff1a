//! The use cases of devices.

pub mod config;
pub mod device;
mod last_served;
pub mod repository;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use crate::audit::{Change, Origin};
use crate::clock::{Clock, Entropy};
use crate::devices::config::{ConfigMode, ConfigSchema, DeviceConfig, to_served_text};
use crate::devices::device::{Device, DeviceFilter, DeviceSummary, DeviceUpdate, NewDevice};
use crate::devices::repository::{DeviceRepository, StoredConfig};
use crate::error::RepositoryError;
use crate::fields::FieldFault;
use crate::identity::device::{ClaimError, DeviceClaim};
use crate::ids::DeviceKey;
use crate::models::repository::ModelRepository;
use crate::wakeup::{Wakeup, Worker};
use last_served::LastServed;

/// How many random keys are tried; in a fleet of a million devices even one collision is rare.
const MAX_KEY_ATTEMPTS: u32 = 5;

/// If the database has not answered by then, a device gets its last known configuration: a longer
/// wait would only bring the device closer to its time limit.
const DATABASE_WAIT: Duration = Duration::from_secs(3);

pub struct DevicePorts {
    pub devices: Arc<dyn DeviceRepository>,
    pub models: Arc<dyn ModelRepository>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The use cases of devices.
#[derive(Clone)]
pub struct Devices {
    ports: Arc<DevicePorts>,
    config_mode: ConfigMode,
    last_served: LastServed,
}

/// A configuration as it is served to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedConfig {
    pub text: Arc<str>,
    /// Whether it is the configuration served last, because the database is unreachable.
    pub is_stale: bool,
}

/// Why a device was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum SaveDeviceError {
    #[error("model {0} does not exist")]
    UnknownModel(i64),
    #[error("device {0} does not exist")]
    UnknownDevice(i64),
    /// The configuration violates the schema of the model.
    #[error("configuration does not match the schema of the model")]
    Config(Vec<FieldFault>),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl Devices {
    pub fn new(ports: DevicePorts, config_mode: ConfigMode) -> Self {
        Self { ports: Arc::new(ports), config_mode, last_served: LastServed::default() }
    }

    pub const fn config_mode(&self) -> ConfigMode {
        self.config_mode
    }

    /// The devices that pass the filter, by key.
    pub async fn list(&self, filter: DeviceFilter) -> Result<Vec<DeviceSummary>, RepositoryError> {
        self.ports.devices.list(filter).await
    }

    pub async fn find(&self, id: i64) -> Result<Option<Device>, RepositoryError> {
        self.ports.devices.find(id).await
    }

    /// Adds an active device with a random key.
    pub async fn create(
        &self,
        model_id: i64,
        config: DeviceConfig,
        origin: Origin,
    ) -> Result<Device, SaveDeviceError> {
        self.check_schema(model_id, &config).await?;
        let change = Change::now(&*self.ports.clock, origin);
        let mut attempt = 1;
        loop {
            let key = DeviceKey::random(&*self.ports.entropy);
            let device = NewDevice { key, model_id, config: config.clone() };
            match self.ports.devices.create(device, &change).await {
                Ok(Some(device)) => return Ok(device),
                Ok(None) => return Err(SaveDeviceError::UnknownModel(model_id)),
                Err(RepositoryError::Conflict) if attempt < MAX_KEY_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Replaces the configuration and the active flag of a device.
    pub async fn update(
        &self,
        id: i64,
        update: DeviceUpdate,
        origin: Origin,
    ) -> Result<Device, SaveDeviceError> {
        let unknown = || SaveDeviceError::UnknownDevice(id);
        let device = self.ports.devices.find(id).await?.ok_or_else(unknown)?;
        self.check_schema(device.model.id, &update.config).await?;
        let change = Change::now(&*self.ports.clock, origin);
        let updated = self.ports.devices.update(id, update, &change).await?;
        updated.ok_or_else(unknown)
    }

    /// Deletes a device and its dumps, whose objects the outbox deletes; `false` when the device
    /// does not exist.
    pub async fn delete(&self, id: i64, origin: Origin) -> Result<bool, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let deleted = self.ports.devices.delete(id, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(deleted)
    }

    /// The configuration for a device. While the database is unreachable it is the configuration
    /// which this process served to the device last, if any (contract §4.2): a device without a
    /// configuration reboots for ever.
    pub async fn served_config(&self, device: &DeviceClaim) -> Result<ServedConfig, ClaimError> {
        let key = &device.key;
        let stored = self.ports.devices.stored_config(key);
        let Some(last) = self.last_served.get(key) else {
            return self.serve(device, stored.await?);
        };
        let failure = match select(stored, self.ports.clock.sleep(DATABASE_WAIT)).await {
            Either::Left((Ok(stored), _)) => return self.serve(device, stored),
            Either::Left((Err(error @ RepositoryError::Unavailable { .. }), _)) => Some(error),
            Either::Left((Err(error), _)) => return Err(error.into()),
            Either::Right(_) => None,
        };
        device.check(&last.model)?;
        log_stale(key, failure.as_ref());
        Ok(ServedConfig { text: last.text, is_stale: true })
    }

    /// Completes the stored configuration and remembers the result.
    fn serve(
        &self,
        device: &DeviceClaim,
        stored: Option<StoredConfig>,
    ) -> Result<ServedConfig, ClaimError> {
        let key = &device.key;
        let Some(StoredConfig { model, text }) = stored else {
            self.last_served.forget(key);
            return Err(ClaimError::UnknownDevice);
        };
        device.check(&model)?;
        let text = to_served_text(&text, key, self.config_mode);
        Ok(ServedConfig { text: self.last_served.remember(key, model, &text), is_stale: false })
    }

    async fn check_schema(
        &self,
        model_id: i64,
        config: &DeviceConfig,
    ) -> Result<(), SaveDeviceError> {
        let model = self.ports.models.find(model_id).await?;
        let model = model.ok_or(SaveDeviceError::UnknownModel(model_id))?;
        let Some(text) = model.config_schema else { return Ok(()) };
        let corrupt = RepositoryError::Corrupt { table: "device_models", column: "config_schema" };
        let Ok(schema) = ConfigSchema::compile(&text) else { return Err(corrupt.into()) };
        config.check(&schema).map_err(SaveDeviceError::Config)
    }
}

/// `failure` is `None` if the database did not answer in time.
fn log_stale(key: &DeviceKey, failure: Option<&RepositoryError>) {
    if let Some(error) = failure {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, device = %key,
            "device {key} was served its last known configuration: the database is unavailable");
    } else {
        tracing::warn!(device = %key,
            "device {key} was served its last known configuration: the database did not answer within {} s",
            DATABASE_WAIT.as_secs());
    }
}
