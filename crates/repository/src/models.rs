//! The port to rows of device models.

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::ModelCode;
use coredock_domain::models::model::{DeviceModel, ModelSummary, ModelUpdate, NewModel};
use coredock_domain::models::repository::{ModelDeletion, ModelRepository};
use diesel::dsl::auto_type;
use diesel::prelude::*;

use crate::columns::{Column, read_code};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::versions::{self, StoredVersion};
use crate::locks;
use crate::schema::{device_models, devices, firmware_versions};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};
use crate::{Database, audit};

#[derive(Queryable, Selectable)]
#[diesel(table_name = device_models)]
struct ModelRow {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
    config_schema: Option<String>,
    created_at: StoredTime,
    updated_at: StoredTime,
}

impl ModelRow {
    fn read(self, device_count: i64) -> Result<DeviceModel, Failure> {
        Ok(DeviceModel {
            summary: ModelSummary {
                id: self.id,
                code: read_code(&self.code)?,
                name: self.name,
                firmware_version: self.firmware_version,
                has_config_schema: self.config_schema.is_some(),
                device_count,
            },
            config_schema: self.config_schema,
            created_at: self.created_at.read(Column("device_models", "created_at"))?,
            updated_at: self.updated_at.read(Column("device_models", "updated_at"))?,
        })
    }
}

#[derive(Queryable)]
struct SummaryRow {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
    has_config_schema: bool,
    device_count: i64,
}

#[derive(AsChangeset)]
#[diesel(table_name = device_models)]
struct ModelChanges {
    name: Option<String>,
    #[expect(
        clippy::option_option,
        reason = "outer: whether it changes; inner: whether the model has one"
    )]
    config_schema: Option<Option<String>>,
    updated_at: At,
}

/// How many devices the model of the enclosing query has.
#[auto_type]
fn device_count() -> _ {
    devices::table
        .filter(devices::device_model_id.eq(device_models::id))
        .count()
        .single_value()
        .assume_not_null()
}

async fn load(conn: &mut Connection, id: i64) -> Result<Option<DeviceModel>, Failure> {
    let query = device_models::table.find(id);
    let row = on!(conn, |c| query
        .select((ModelRow::as_select(), device_count()))
        .first::<(ModelRow, i64)>(c))
    .optional()?;
    row.map(|(row, devices)| row.read(devices)).transpose()
}

#[async_trait]
impl ModelRepository for Database {
    async fn list(&self) -> Result<Vec<ModelSummary>, RepositoryError> {
        let query = device_models::table.order(device_models::code).select((
            device_models::id,
            device_models::code,
            device_models::name,
            device_models::firmware_version,
            device_models::config_schema.is_not_null(),
            device_count(),
        ));
        self.read("model.list", async |conn| {
            let rows = on!(conn, |c| query.load::<SummaryRow>(c))?;
            rows.into_iter()
                .map(|row| {
                    Ok(ModelSummary {
                        id: row.id,
                        code: read_code(&row.code)?,
                        name: row.name,
                        firmware_version: row.firmware_version,
                        has_config_schema: row.has_config_schema,
                        device_count: row.device_count,
                    })
                })
                .collect()
        })
        .await
    }

    async fn create(
        &self,
        model: NewModel,
        change: &Change,
    ) -> Result<DeviceModel, RepositoryError> {
        let created = self
            .write("model.create", async |conn| {
                let row = (
                    device_models::code.eq(model.code.as_str()),
                    device_models::name.eq(&model.name),
                    device_models::config_schema.eq(&model.config_schema),
                    device_models::created_at.eq(At(change.at)),
                    device_models::updated_at.eq(At(change.at)),
                );
                let row = on!(conn, |c| diesel::insert_into(device_models::table)
                    .values(row)
                    .returning(ModelRow::as_returning())
                    .get_result::<ModelRow>(c))?;
                audit::record(conn, change, AuditAction::ModelCreated, row.id).await?;
                row.read(0)
            })
            .await?;
        change.log(AuditAction::ModelCreated, created.summary.id);
        Ok(created)
    }

    async fn find(&self, id: i64) -> Result<Option<DeviceModel>, RepositoryError> {
        self.read("model.find", async |conn| load(conn, id).await).await
    }

    async fn find_by_code(&self, code: &ModelCode) -> Result<Option<DeviceModel>, RepositoryError> {
        let query = device_models::table.filter(device_models::code.eq(code.as_str()));
        self.read("model.find_by_code", async |conn| {
            let row = on!(conn, |c| query
                .select((ModelRow::as_select(), device_count()))
                .first::<(ModelRow, i64)>(c))
            .optional()?;
            row.map(|(row, devices)| row.read(devices)).transpose()
        })
        .await
    }

    async fn update(
        &self,
        id: i64,
        update: ModelUpdate,
        change: &Change,
    ) -> Result<Option<DeviceModel>, RepositoryError> {
        let changes = ModelChanges {
            name: update.name,
            config_schema: update.config_schema,
            updated_at: At(change.at),
        };
        let updated = self
            .write("model.update", async |conn| {
                let found = on!(conn, |c| diesel::update(device_models::table.find(id))
                    .set(changes)
                    .execute(c))?;
                if found > 0 {
                    audit::record(conn, change, AuditAction::ModelUpdated, id).await?;
                }
                load(conn, id).await
            })
            .await?;
        if updated.is_some() {
            change.log(AuditAction::ModelUpdated, id);
        }
        Ok(updated)
    }

    async fn delete(&self, id: i64, change: &Change) -> Result<ModelDeletion, RepositoryError> {
        let deletion =
            self.write("model.delete", async |conn| delete(conn, id, change).await).await?;
        if deletion == ModelDeletion::Deleted {
            change.log(AuditAction::ModelDeleted, id);
        }
        Ok(deletion)
    }
}

async fn delete(conn: &mut Connection, id: i64, change: &Change) -> Result<ModelDeletion, Failure> {
    on!(conn, |c| locks::publications(c))?;
    on!(conn, |c| locks::model(c, id))?;
    let Some(model) = versions::head(conn, id).await? else {
        return Ok(ModelDeletion::NotFound);
    };
    let of_model = devices::table.filter(devices::device_model_id.eq(id)).count();
    let devices = on!(conn, |c| of_model.get_result::<i64>(c))?;
    if devices > 0 {
        return Ok(ModelDeletion::InUse { devices });
    }
    let of_model = firmware_versions::table.filter(firmware_versions::device_model_id.eq(id));
    let versions =
        on!(conn, |c| of_model.select(StoredVersion::as_select()).load::<StoredVersion>(c))?;
    versions::delete(conn, &model.code, &versions, change.at).await?;
    on!(conn, |c| diesel::delete(device_models::table.find(id)).execute(c))?;
    audit::record(conn, change, AuditAction::ModelDeleted, id).await?;
    Ok(ModelDeletion::Deleted)
}
