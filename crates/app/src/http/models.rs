//! Device models (contract §8.1).

pub mod views;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use coredock_domain::DeviceModels;
use coredock_domain::devices::config::ConfigSchema;
use coredock_domain::error::RepositoryError;
use coredock_domain::fields::{JsonFields, short_text, verbatim_text};
use coredock_domain::ids::ModelCode;
use coredock_domain::models::model::{ModelUpdate, NewModel};
use coredock_domain::models::repository::ModelDeletion;
use serde_json::Value;

use super::request::answer::{Created, NoContent};
use super::request::body::{FromBody, ValidBody, complete};
use super::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use super::request::identity::{Editor, Viewer};
use views::{ModelListView, ModelView};

const MAX_NAME_CHARS: usize = 255;

/// All models, by code.
#[utoipa::path(get, path = "/api/device-models", tag = "models", operation_id = "list_device_models",
    responses((status = 200, body = ModelListView), (status = 503, body = ErrorView)))]
pub async fn list_device_models(
    _: Viewer,
    models: Data<DeviceModels>,
) -> ApiResult<Json<ModelListView>> {
    Ok(Json(models.list().await?.into()))
}

/// Creates a model.
#[utoipa::path(post, path = "/api/device-models", tag = "models",
    operation_id = "create_device_model",
    request_body(content = serde_json::Value, description = "`code`, `name`, `config_schema`"),
    responses((status = 201, body = ModelView), (status = 400, body = ErrorView),
        (status = 409, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn create_device_model(
    caller: Editor,
    model: ValidBody<NewModel>,
    models: Data<DeviceModels>,
) -> ApiResult<Created<ModelView>> {
    let code = model.0.code.clone();
    let created = models.create(model.0, caller.origin()).await;
    Ok(Created(created.map_err(|error| create_error(error, &code))?.into()))
}

/// One model.
#[utoipa::path(get, path = "/api/device-models/{id}", tag = "models",
    operation_id = "get_device_model", params(("id" = i64, Path)),
    responses((status = 200, body = ModelView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_device_model(
    _: Viewer,
    id: Path<i64>,
    models: Data<DeviceModels>,
) -> ApiResult<Json<ModelView>> {
    let found = models.find(*id).await?.ok_or_else(|| unknown_model(*id))?;
    Ok(Json(found.into()))
}

/// Changes a model.
#[utoipa::path(put, path = "/api/device-models/{id}", tag = "models",
    operation_id = "update_device_model", params(("id" = i64, Path)),
    request_body(content = serde_json::Value, description = "`name`, `config_schema`; an absent or null member stays unchanged, an empty schema removes the schema"),
    responses((status = 200, body = ModelView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn update_device_model(
    caller: Editor,
    id: Path<i64>,
    update: ValidBody<ModelUpdate>,
    models: Data<DeviceModels>,
) -> ApiResult<Json<ModelView>> {
    let updated = models.update(*id, update.0, caller.origin()).await?;
    Ok(Json(updated.ok_or_else(|| unknown_model(*id))?.into()))
}

/// Deletes a model that has no devices.
#[utoipa::path(delete, path = "/api/device-models/{id}", tag = "models",
    operation_id = "delete_device_model", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 409, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn delete_device_model(
    caller: Editor,
    id: Path<i64>,
    models: Data<DeviceModels>,
) -> ApiResult<NoContent> {
    match models.delete(*id, caller.origin()).await? {
        ModelDeletion::Deleted => Ok(NoContent),
        ModelDeletion::NotFound => Err(unknown_model(*id)),
        ModelDeletion::InUse { devices } => {
            let message = format!("DeviceModel {id} still has {devices} device(s)");
            Err(ApiError::new(ErrorCode::ResourceConflict, message))
        }
    }
}

pub fn unknown_model(identifier: impl std::fmt::Display) -> ApiError {
    ApiError::not_found("DeviceModel", identifier)
}

fn create_error(error: RepositoryError, code: &ModelCode) -> ApiError {
    match error {
        RepositoryError::Conflict => {
            let message = format!("DeviceModel {code} exists already");
            ApiError::new(ErrorCode::RecordExists, message)
        }
        RepositoryError::Corrupt { .. } | RepositoryError::Unavailable { .. } => error.into(),
    }
}

impl FromBody for NewModel {
    fn from_body(mut fields: JsonFields, _: &HttpRequest) -> ApiResult<Self> {
        let code = fields.required("code", model_code);
        let name = fields.required("name", |value| short_text(value, MAX_NAME_CHARS));
        let config_schema = fields.optional("config_schema", schema_text);
        fields.finish()?;
        Ok(Self {
            code: complete(code)?,
            name: complete(name)?,
            config_schema: complete(config_schema)?,
        })
    }
}

impl FromBody for ModelUpdate {
    fn from_body(mut fields: JsonFields, _: &HttpRequest) -> ApiResult<Self> {
        let name = fields.optional("name", |value| short_text(value, MAX_NAME_CHARS));
        let config_schema = fields.optional("config_schema", |value| match value.as_str() {
            Some("") => Ok(None),
            Some(_) | None => schema_text(value).map(Some),
        });
        fields.finish()?;
        Ok(Self { name: name.flatten(), config_schema: config_schema.flatten() })
    }
}

fn model_code(value: &Value) -> Result<ModelCode, String> {
    let text = verbatim_text(value)?;
    ModelCode::parse(&text).ok_or_else(|| "must match ^[a-z0-9_]{1,50}$".into())
}

fn schema_text(value: &Value) -> Result<String, String> {
    let text = verbatim_text(value)?;
    ConfigSchema::compile(&text).map(|_| text)
}
