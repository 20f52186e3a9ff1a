//! Rows of devices.

use coredock_domain::devices::config::DeviceConfig;
use coredock_domain::devices::device::{Device, DeviceSummary, ModelOfDevice};
use diesel::prelude::*;

use crate::columns::{Column, read_code, read_key, read_optional, read_state};
use crate::failure::Failure;
use crate::schema::{device_models, devices};
use crate::timestamps::StoredTime;

const TABLE: &str = "devices";

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices)]
pub(super) struct SummaryRow {
    id: i64,
    key: String,
    device_model_id: i64,
    active: bool,
    device_name: Option<String>,
    device_entity_id: Option<String>,
    enable_ota: Option<bool>,
    rotation_state: String,
    secret_created_at: Option<StoredTime>,
}

impl SummaryRow {
    pub(super) fn read(
        self,
        last_coredump_at: Option<StoredTime>,
    ) -> Result<DeviceSummary, Failure> {
        Ok(DeviceSummary {
            id: self.id,
            key: read_key(&self.key)?,
            device_model_id: self.device_model_id,
            active: self.active,
            device_name: self.device_name,
            device_entity_id: self.device_entity_id,
            enable_ota: self.enable_ota,
            rotation_state: read_state(&self.rotation_state)?,
            secret_created_at: read_optional(
                self.secret_created_at,
                Column(TABLE, "secret_created_at"),
            )?,
            last_coredump_at: read_optional(last_coredump_at, Column("coredumps", "uploaded_at"))?,
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = device_models)]
pub(super) struct ModelRow {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices)]
pub(super) struct DeviceRow {
    #[diesel(embed)]
    summary: SummaryRow,
    #[diesel(embed)]
    model: ModelRow,
    config: String,
    last_rotation_attempt_at: Option<StoredTime>,
    last_rotation_completed_at: Option<StoredTime>,
    created_at: StoredTime,
    updated_at: StoredTime,
}

impl DeviceRow {
    pub(super) fn read(self) -> Result<Device, Failure> {
        let summary = self.summary.read(None)?;
        Ok(Device {
            id: summary.id,
            key: summary.key,
            model: ModelOfDevice {
                id: self.model.id,
                code: read_code(&self.model.code)?,
                name: self.model.name,
                firmware_version: self.model.firmware_version,
            },
            active: summary.active,
            config: DeviceConfig {
                text: self.config,
                device_name: summary.device_name,
                device_entity_id: summary.device_entity_id,
                enable_ota: summary.enable_ota,
            },
            rotation_state: summary.rotation_state,
            secret_created_at: summary.secret_created_at,
            last_rotation_attempt_at: read_optional(
                self.last_rotation_attempt_at,
                Column(TABLE, "last_rotation_attempt_at"),
            )?,
            last_rotation_completed_at: read_optional(
                self.last_rotation_completed_at,
                Column(TABLE, "last_rotation_completed_at"),
            )?,
            created_at: self.created_at.read(Column(TABLE, "created_at"))?,
            updated_at: self.updated_at.read(Column(TABLE, "updated_at"))?,
        })
    }
}
