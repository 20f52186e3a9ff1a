//! Answers about devices.

use coredock_domain::devices::device::{Device, DeviceSummary, client_id};
use serde::Serialize;
use utoipa::ToSchema;

/// An entry of the list of devices.
#[derive(Serialize, ToSchema)]
pub struct DeviceSummaryView {
    id: i64,
    key: String,
    device_model_id: i64,
    active: bool,
    device_name: Option<String>,
    device_entity_id: Option<String>,
    enable_ota: Option<bool>,
    rotation_state: &'static str,
    secret_created_at: Option<String>,
    last_coredump_at: Option<String>,
}

impl From<DeviceSummary> for DeviceSummaryView {
    fn from(device: DeviceSummary) -> Self {
        Self {
            id: device.id,
            key: device.key.to_string(),
            device_model_id: device.device_model_id,
            active: device.active,
            device_name: device.device_name,
            device_entity_id: device.device_entity_id,
            enable_ota: device.enable_ota,
            rotation_state: device.rotation_state.as_str(),
            secret_created_at: device.secret_created_at.map(|time| time.to_string()),
            last_coredump_at: device.last_coredump_at.map(|time| time.to_string()),
        }
    }
}

/// The list of devices.
#[derive(Serialize, ToSchema)]
pub struct DeviceListView {
    count: usize,
    devices: Vec<DeviceSummaryView>,
}

impl From<Vec<DeviceSummary>> for DeviceListView {
    fn from(devices: Vec<DeviceSummary>) -> Self {
        let devices: Vec<_> = devices.into_iter().map(Into::into).collect();
        Self { count: devices.len(), devices }
    }
}

/// The model of a device.
#[derive(Serialize, ToSchema)]
pub struct ModelOfDeviceView {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub struct DeviceView {
    id: i64,
    key: String,
    device_model_id: i64,
    device_model: ModelOfDeviceView,
    active: bool,
    config: String,
    device_name: Option<String>,
    device_entity_id: Option<String>,
    enable_ota: Option<bool>,
    rotation_state: &'static str,
    client_id: String,
    secret_created_at: Option<String>,
    last_rotation_attempt_at: Option<String>,
    last_rotation_completed_at: Option<String>,
    created_at: String,
    updated_at: String,
    config_warnings: Vec<String>,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        let config_warnings = device.config.warnings();
        Self {
            id: device.id,
            key: device.key.to_string(),
            device_model_id: device.model.id,
            active: device.active,
            device_name: device.config.device_name,
            device_entity_id: device.config.device_entity_id,
            enable_ota: device.config.enable_ota,
            config: device.config.text,
            rotation_state: device.rotation_state.as_str(),
            client_id: client_id(&device.model.code, &device.key),
            secret_created_at: device.secret_created_at.map(|time| time.to_string()),
            last_rotation_attempt_at: device.last_rotation_attempt_at.map(|time| time.to_string()),
            last_rotation_completed_at: device
                .last_rotation_completed_at
                .map(|time| time.to_string()),
            created_at: device.created_at.to_string(),
            updated_at: device.updated_at.to_string(),
            config_warnings,
            device_model: ModelOfDeviceView {
                id: device.model.id,
                code: device.model.code.to_string(),
                name: device.model.name,
                firmware_version: device.model.firmware_version,
            },
        }
    }
}
