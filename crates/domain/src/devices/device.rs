//! Devices.

use crate::devices::config::DeviceConfig;
use crate::ids::{DeviceKey, ModelCode};
use crate::timestamp::Timestamp;

/// The id a device has at the identity provider: `iotdevice-{model}-{key}`.
pub fn client_id(model: &ModelCode, key: &DeviceKey) -> String {
    format!("iotdevice-{model}-{key}")
}

/// Where a device stands in the rotation of its secret (contract §15.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationState {
    /// Nothing to do.
    Ok,
    /// Waits for its turn.
    Queued,
    /// Is being rotated.
    Pending,
    /// Did not answer in time.
    Timeout,
}

impl RotationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Queued, Self::Pending, Self::Timeout];

    /// The text on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Queued => "QUEUED",
            Self::Pending => "PENDING",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// `None` when the text names no state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One line of the list of devices; never loads the configuration (I13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Row id.
    pub id: i64,
    /// Unique key.
    pub key: DeviceKey,
    /// Its model.
    pub device_model_id: i64,
    /// A mark for people; its endpoints ignore it.
    pub active: bool,
    /// `deviceName` of the configuration.
    pub device_name: Option<String>,
    /// `deviceEntityId` of the configuration.
    pub device_entity_id: Option<String>,
    /// `enableOTA` of the configuration.
    pub enable_ota: Option<bool>,
    /// Where it stands in the rotation of its secret.
    pub rotation_state: RotationState,
    /// When its secret was made.
    pub secret_created_at: Option<Timestamp>,
    /// When its newest dump came.
    pub last_coredump_at: Option<Timestamp>,
}

/// The model of a device, as its detail shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOfDevice {
    /// Row id.
    pub id: i64,
    /// Unique code.
    pub code: ModelCode,
    /// Name for people.
    pub name: String,
    /// The version offered to the device.
    pub firmware_version: Option<String>,
}

/// A device with everything known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Row id.
    pub id: i64,
    /// Unique key.
    pub key: DeviceKey,
    /// Its model, for life.
    pub model: ModelOfDevice,
    /// A mark for people; its endpoints ignore it.
    pub active: bool,
    /// The stored configuration and what was taken from it.
    pub config: DeviceConfig,
    /// Where it stands in the rotation of its secret.
    pub rotation_state: RotationState,
    /// When its secret was made.
    pub secret_created_at: Option<Timestamp>,
    /// When a rotation last began.
    pub last_rotation_attempt_at: Option<Timestamp>,
    /// When a rotation last ended well.
    pub last_rotation_completed_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a device is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// A fresh key.
    pub key: DeviceKey,
    /// Its model.
    pub model_id: i64,
    /// Its validated configuration.
    pub config: DeviceConfig,
}

/// What may change in a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUpdate {
    /// The new validated configuration.
    pub config: DeviceConfig,
    /// The new mark.
    pub active: bool,
}

/// Which devices a list shows; `None` shows all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFilter {
    /// Devices of this model only.
    pub model_id: Option<i64>,
    /// Devices in this state only.
    pub rotation_state: Option<RotationState>,
}
