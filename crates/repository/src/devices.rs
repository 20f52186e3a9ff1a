//! The port to rows of devices.

mod row;

use async_trait::async_trait;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::devices::device::{
    Device, DeviceFilter, DeviceSummary, DeviceUpdate, NewDevice, RotationState,
};
use coredock_domain::devices::repository::{DeviceRepository, StoredConfig};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::DeviceKey;
use diesel::dsl::max;
use diesel::prelude::*;

use crate::artifacts::deletes;
use crate::columns::{read_code, read_key};
use crate::connection::{Connection, on};
use crate::devices::row::{DeviceRow, SummaryRow};
use crate::failure::Failure;
use crate::locks;
use crate::schema::{coredumps, device_models, devices};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};
use crate::{Database, audit};

async fn load(conn: &mut Connection, id: i64) -> Result<Option<Device>, Failure> {
    let query = devices::table.inner_join(device_models::table).filter(devices::id.eq(id));
    let row =
        on!(conn, |c| query.select(DeviceRow::as_select()).first::<DeviceRow>(c)).optional()?;
    row.map(DeviceRow::read).transpose()
}

#[async_trait]
impl DeviceRepository for Database {
    async fn list(&self, filter: DeviceFilter) -> Result<Vec<DeviceSummary>, RepositoryError> {
        let state = filter.rotation_state.map(RotationState::as_str);
        self.read("device.list", async |conn| {
            let rows = on!(conn, |c| {
                let last_coredump_at = coredumps::table
                    .filter(coredumps::device_id.eq(devices::id))
                    .select(max(coredumps::uploaded_at))
                    .single_value();
                let mut query = devices::table
                    .order(devices::key)
                    .select((SummaryRow::as_select(), last_coredump_at))
                    .into_boxed();
                if let Some(model_id) = filter.model_id {
                    query = query.filter(devices::device_model_id.eq(model_id));
                }
                if let Some(state) = state {
                    query = query.filter(devices::rotation_state.eq(state));
                }
                query.load::<(SummaryRow, Option<StoredTime>)>(c)
            })?;
            rows.into_iter().map(|(row, last_coredump_at)| row.read(last_coredump_at)).collect()
        })
        .await
    }

    async fn create(
        &self,
        device: NewDevice,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError> {
        let created =
            self.write("device.create", async |conn| create(conn, &device, change).await).await?;
        if let Some(device) = &created {
            change.log(AuditAction::DeviceCreated, device.id);
        }
        Ok(created)
    }

    async fn find(&self, id: i64) -> Result<Option<Device>, RepositoryError> {
        self.read("device.find", async |conn| load(conn, id).await).await
    }

    async fn stored_config(
        &self,
        key: &DeviceKey,
    ) -> Result<Option<StoredConfig>, RepositoryError> {
        let query = devices::table
            .inner_join(device_models::table)
            .filter(devices::key.eq(key.as_str()))
            .select((device_models::code, devices::config));
        self.read("device.stored_config", async |conn| {
            let row = on!(conn, |c| query.first::<(String, String)>(c)).optional()?;
            row.map(|(code, text)| Ok(StoredConfig { model: read_code(&code)?, text })).transpose()
        })
        .await
    }

    async fn update(
        &self,
        id: i64,
        update: DeviceUpdate,
        change: &Change,
    ) -> Result<Option<Device>, RepositoryError> {
        let updated = self
            .write("device.update", async |conn| {
                let changes = (
                    devices::config.eq(&update.config.text),
                    devices::device_name.eq(&update.config.device_name),
                    devices::device_entity_id.eq(&update.config.device_entity_id),
                    devices::enable_ota.eq(update.config.enable_ota),
                    devices::active.eq(update.active),
                    devices::updated_at.eq(At(change.at)),
                );
                let found =
                    on!(conn, |c| diesel::update(devices::table.find(id)).set(changes).execute(c))?;
                if found > 0 {
                    audit::record(conn, change, AuditAction::DeviceUpdated, id).await?;
                }
                load(conn, id).await
            })
            .await?;
        if updated.is_some() {
            change.log(AuditAction::DeviceUpdated, id);
        }
        Ok(updated)
    }

    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        let deleted =
            self.write("device.delete", async |conn| delete(conn, id, change).await).await?;
        if deleted {
            change.log(AuditAction::DeviceDeleted, id);
        }
        Ok(deleted)
    }
}

async fn create(
    conn: &mut Connection,
    device: &NewDevice,
    change: &Change,
) -> Result<Option<Device>, Failure> {
    on!(conn, |c| locks::model_exists(c, device.model_id))?;
    let model = device_models::table.find(device.model_id).select(device_models::id);
    if on!(conn, |c| model.first::<i64>(c)).optional()?.is_none() {
        return Ok(None);
    }
    let row = (
        devices::key.eq(device.key.as_str()),
        devices::device_model_id.eq(device.model_id),
        devices::config.eq(&device.config.text),
        devices::device_name.eq(&device.config.device_name),
        devices::device_entity_id.eq(&device.config.device_entity_id),
        devices::enable_ota.eq(device.config.enable_ota),
        devices::active.eq(true),
        devices::rotation_state.eq(RotationState::Ok.as_str()),
        devices::created_at.eq(At(change.at)),
        devices::updated_at.eq(At(change.at)),
    );
    let id = on!(conn, |c| diesel::insert_into(devices::table)
        .values(row)
        .returning(devices::id)
        .get_result::<i64>(c))?;
    audit::record(conn, change, AuditAction::DeviceCreated, id).await?;
    load(conn, id).await
}

async fn delete(conn: &mut Connection, id: i64, change: &Change) -> Result<bool, Failure> {
    on!(conn, |c| locks::device(c, id))?;
    let key = devices::table.find(id).select(devices::key);
    let Some(key) = on!(conn, |c| key.first::<String>(c)).optional()? else {
        return Ok(false);
    };
    let device = read_key(&key)?;
    let dumps = coredumps::table.filter(coredumps::device_id.eq(id)).select(coredumps::id);
    let dumps = on!(conn, |c| dumps.load::<i64>(c))?;
    let keys: Vec<_> =
        dumps.into_iter().map(|id| ArtifactKey::Coredump { device: device.clone(), id }).collect();
    deletes::queue(conn, &keys, change.at).await?;
    on!(conn, |c| diesel::delete(devices::table.find(id)).execute(c))?;
    audit::record(conn, change, AuditAction::DeviceDeleted, id).await?;
    Ok(true)
}
