//! Devices.

use crate::devices::config::DeviceConfig;
use crate::ids::{DeviceKey, ModelCode};
use crate::timestamp::Timestamp;

/// The id a device has at the identity provider: `iotdevice-{model}-{key}`.
pub fn client_id(model: &ModelCode, key: &DeviceKey) -> String {
    format!("iotdevice-{model}-{key}")
}

/// The state of the rotation of a device's secret (contract §15.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationState {
    /// No rotation is due.
    Ok,
    /// The rotation is due and has not begun.
    Queued,
    /// The rotation is under way.
    Pending,
    /// The device did not answer in time.
    Timeout,
}

impl RotationState {
    pub const ALL: [Self; 4] = [Self::Ok, Self::Queued, Self::Pending, Self::Timeout];

    /// The text in answers and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Queued => "QUEUED",
            Self::Pending => "PENDING",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// `None` when the text is not a state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An entry of the list of devices; lists never load configurations (I13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSummary {
    pub id: i64,
    pub key: DeviceKey,
    pub device_model_id: i64,
    /// A flag for people; the endpoints of devices ignore it.
    pub active: bool,
    /// `deviceName` of the configuration.
    pub device_name: Option<String>,
    /// `deviceEntityId` of the configuration.
    pub device_entity_id: Option<String>,
    /// `enableOTA` of the configuration.
    pub enable_ota: Option<bool>,
    pub rotation_state: RotationState,
    pub secret_created_at: Option<Timestamp>,
    /// When its newest dump was received.
    pub last_coredump_at: Option<Timestamp>,
}

/// The model of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOfDevice {
    pub id: i64,
    pub code: ModelCode,
    /// Name for people.
    pub name: String,
    /// The version offered to the device.
    pub firmware_version: Option<String>,
}

/// All columns of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: i64,
    pub key: DeviceKey,
    /// Never changes.
    pub model: ModelOfDevice,
    /// A flag for people; the endpoints of devices ignore it.
    pub active: bool,
    pub config: DeviceConfig,
    pub rotation_state: RotationState,
    pub secret_created_at: Option<Timestamp>,
    /// When a rotation last began.
    pub last_rotation_attempt_at: Option<Timestamp>,
    /// When a rotation last succeeded.
    pub last_rotation_completed_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A device to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    pub key: DeviceKey,
    pub model_id: i64,
    /// Already validated.
    pub config: DeviceConfig,
}

/// The new values of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUpdate {
    /// Already validated.
    pub config: DeviceConfig,
    pub active: bool,
}

/// Which devices a list shows; `None` matches all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFilter {
    pub model_id: Option<i64>,
    pub rotation_state: Option<RotationState>,
}
