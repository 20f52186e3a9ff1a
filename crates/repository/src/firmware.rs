//! The port to rows of firmware versions.

pub(crate) mod known_builds;
mod late_symbols;
pub(crate) mod offer_cache;
mod publication;
pub(crate) mod retention;
pub(crate) mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::coredumps::coredump::ParseStatus;
use coredock_domain::error::RepositoryError;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::repository::{
    Activation, FirmwareRepository, ListedVersion, OfferedFirmware, VersionDeletion,
};
use coredock_domain::ids::DeviceKey;
use coredock_domain::ids::VersionText;
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::auto_type;
use diesel::prelude::*;

use crate::columns::read_code;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::versions::VersionRow;
use crate::locks;
use crate::schema::{coredumps, device_models, devices, firmware_versions, symbol_indexes};
use crate::statement::RunQueryDsl;
use crate::symbolication::indexes::StatusRow;
use crate::timestamps::At;
use crate::{Database, audit};

/// How many pending dumps need the version of the enclosing query.
#[auto_type]
fn pending_coredumps() -> _ {
    let pending: &'static str = ParseStatus::Pending.as_str();
    coredumps::table
        .inner_join(devices::table)
        .filter(devices::device_model_id.eq(firmware_versions::device_model_id))
        .filter(coredumps::firmware_version.eq(firmware_versions::version))
        .filter(coredumps::parse_status.eq(pending))
        .count()
        .single_value()
        .assume_not_null()
}

fn offer(code: &str, version: Option<VersionRow>) -> Result<OfferedFirmware, Failure> {
    let version = version.map(|row| row.read(code)).transpose()?.map(Arc::new);
    Ok(OfferedFirmware { model: read_code(code)?, version })
}

#[async_trait]
impl FirmwareRepository for Database {
    async fn offered_to(
        &self,
        key: &DeviceKey,
    ) -> Result<Option<OfferedFirmware>, RepositoryError> {
        let Some(cache) = self.offer_cache() else { return self.read_offer(key).await };
        if let Some(offered) = cache.recall(key) {
            return Ok(Some(offered));
        }
        let epoch = cache.epoch();
        let offered = self.read_offer(key).await?;
        if let Some(offered) = &offered {
            cache.remember(key, epoch, offered);
        }
        Ok(offered)
    }

    async fn offered_by(&self, model_id: i64) -> Result<Option<OfferedFirmware>, RepositoryError> {
        let named_by_pointer = firmware_versions::device_model_id
            .eq(device_models::id)
            .and(device_models::firmware_version.eq(firmware_versions::version.nullable()));
        let query = device_models::table
            .left_join(firmware_versions::table.on(named_by_pointer.assume_not_null()))
            .filter(device_models::id.eq(model_id));
        self.read("firmware.offered_by", async |conn| {
            let row = on!(conn, |c| query
                .select((device_models::code, Option::<VersionRow>::as_select()))
                .first::<(String, Option<VersionRow>)>(c))
            .optional()?;
            row.map(|(code, version)| offer(&code, version)).transpose()
        })
        .await
    }

    async fn list(
        &self,
        model_id: i64,
        now: Timestamp,
    ) -> Result<Option<Vec<ListedVersion>>, RepositoryError> {
        let of_build = symbol_indexes::elf_sha256.eq(firmware_versions::elf_sha256);
        let query = firmware_versions::table
            .left_join(symbol_indexes::table.on(of_build))
            .filter(firmware_versions::device_model_id.eq(model_id))
            .order((firmware_versions::uploaded_at.desc(), firmware_versions::id.desc()));
        self.read("firmware.list", async |conn| {
            let Some(model) = versions::head(conn, model_id).await? else { return Ok(None) };
            let rows = on!(conn, |c| query
                .select((
                    VersionRow::as_select(),
                    pending_coredumps(),
                    Option::<StatusRow>::as_select()
                ))
                .load::<(VersionRow, i64, Option<StatusRow>)>(c))?;
            let list = rows.into_iter().map(|(row, pending_coredumps, index)| {
                let index = index.map(|index| index.read(now)).transpose()?.unwrap_or_default();
                let version = row.read(model.code.as_str())?;
                let current = model.current.as_deref() == Some(version.version.as_str());
                Ok(ListedVersion { version, current, pending_coredumps, index })
            });
            list.collect::<Result<_, Failure>>().map(Some)
        })
        .await
    }

    async fn find(
        &self,
        model_id: i64,
        version: &VersionText,
    ) -> Result<Option<FirmwareVersion>, RepositoryError> {
        self.read("firmware.find", async |conn| versions::load(conn, model_id, version).await).await
    }

    async fn activate(
        &self,
        model_id: i64,
        version: &VersionText,
        change: &Change,
    ) -> Result<Option<Activation>, RepositoryError> {
        let activation = self
            .write("firmware.activate", async |conn| {
                activate(conn, model_id, version, change).await
            })
            .await?;
        if let Some(Activation { model, changed: true }) = &activation {
            change.log(AuditAction::FirmwareActivated, format_args!("{model}/{version}"));
        }
        Ok(activation)
    }

    async fn delete(
        &self,
        model_id: i64,
        version: &VersionText,
        change: &Change,
    ) -> Result<VersionDeletion, RepositoryError> {
        let (deletion, target) = self
            .write("firmware.delete", async |conn| delete(conn, model_id, version, change).await)
            .await?;
        if deletion == VersionDeletion::Deleted {
            change.log(AuditAction::FirmwareDeleted, target);
        }
        Ok(deletion)
    }
}

async fn activate(
    conn: &mut Connection,
    model_id: i64,
    version: &VersionText,
    change: &Change,
) -> Result<Option<Activation>, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let Some(model) = versions::head(conn, model_id).await? else { return Ok(None) };
    if versions::find_stored(conn, model_id, version).await?.is_none() {
        return Ok(None);
    }
    let changed = model.current.as_deref() != Some(version.as_str());
    if changed {
        point_at(conn, model_id, version, change).await?;
        let target = format!("{}/{version}", model.code);
        audit::record(conn, change, AuditAction::FirmwareActivated, target).await?;
    }
    Ok(Some(Activation { model: model.code, changed }))
}

/// Makes a version current.
pub(crate) async fn point_at(
    conn: &mut Connection,
    model_id: i64,
    version: &VersionText,
    change: &Change,
) -> Result<(), Failure> {
    let pointer = (
        device_models::firmware_version.eq(version.as_str()),
        device_models::updated_at.eq(At(change.at)),
    );
    on!(conn, |c| diesel::update(device_models::table.find(model_id)).set(pointer).execute(c))?;
    Ok(())
}

/// Returns the outcome and, if the version exists, its name in the audit.
async fn delete(
    conn: &mut Connection,
    model_id: i64,
    version: &VersionText,
    change: &Change,
) -> Result<(VersionDeletion, String), Failure> {
    on!(conn, |c| locks::publications(c))?;
    let model = versions::head(conn, model_id).await?;
    let stored = versions::find_stored(conn, model_id, version).await?;
    let (Some(model), Some(stored)) = (model, stored) else {
        return Ok((VersionDeletion::NotFound, String::new()));
    };
    let target = format!("{}/{version}", model.code);
    if model.current.as_deref() == Some(version.as_str()) {
        return Ok((VersionDeletion::Current, target));
    }
    let pending = firmware_versions::table.find(stored.id).select(pending_coredumps());
    let dumps = on!(conn, |c| pending.first::<i64>(c))?;
    if dumps > 0 {
        return Ok((VersionDeletion::NeededByDumps { dumps }, target));
    }
    versions::delete(conn, &model.code, &[stored], change.at).await?;
    audit::record(conn, change, AuditAction::FirmwareDeleted, &target).await?;
    Ok((VersionDeletion::Deleted, target))
}

impl Database {
    /// Reads the offer of a device in one indexed query.
    async fn read_offer(
        &self,
        key: &DeviceKey,
    ) -> Result<Option<OfferedFirmware>, RepositoryError> {
        let named_by_pointer = firmware_versions::device_model_id
            .eq(device_models::id)
            .and(device_models::firmware_version.eq(firmware_versions::version.nullable()));
        let query = devices::table
            .inner_join(device_models::table)
            .left_join(firmware_versions::table.on(named_by_pointer.assume_not_null()))
            .filter(devices::key.eq(key.as_str()));
        self.read("firmware.offered_to", async |conn| {
            let row = on!(conn, |c| query
                .select((device_models::code, Option::<VersionRow>::as_select()))
                .first::<(String, Option<VersionRow>)>(c))
            .optional()?;
            row.map(|(code, version)| offer(&code, version)).transpose()
        })
        .await
    }
}
