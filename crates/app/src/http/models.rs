//! Device models (contract §8.1).

pub mod views;

use actix_web::{HttpResponse, web};
use coredock_domain::DeviceModels;
use coredock_domain::devices::config::ConfigSchema;
use coredock_domain::error::RepositoryError;
use coredock_domain::fields::{JsonFields, short_text, verbatim_text};
use coredock_domain::ids::ModelCode;
use coredock_domain::models::model::{ModelUpdate, NewModel};
use coredock_domain::models::repository::ModelDeletion;
use serde_json::Value;

use super::request::body::JsonBody;
use super::request::error::{ApiError, ErrorCode, ErrorView};
use super::request::feature::Feature;
use super::request::identity::{Editor, Viewer};
use views::{ModelListView, ModelView};

const LONGEST_NAME: usize = 255;

/// All models, by code.
#[utoipa::path(get, path = "/api/device-models", tag = "models", operation_id = "list_device_models",
    responses((status = 200, body = ModelListView), (status = 503, body = ErrorView)))]
pub async fn list_device_models(
    _: Viewer,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let operation = models.begin("list_device_models");
    let listed = operation.end(models.list().await.map_err(ApiError::from))?;
    Ok(HttpResponse::Ok().json(ModelListView::from(listed)))
}

/// Creates a model.
#[utoipa::path(post, path = "/api/device-models", tag = "models",
    operation_id = "create_device_model",
    request_body(content = serde_json::Value, description = "`code`, `name`, `config_schema`"),
    responses((status = 201, body = ModelView), (status = 400, body = ErrorView),
        (status = 409, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn create_device_model(
    caller: Editor,
    body: JsonBody,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let model = new_model(body.0)?;
    let operation = models.begin("create_device_model");
    let code = model.code.clone();
    let created = models.create(model, caller.origin()).await;
    let created = operation.end(created.map_err(|error| match error {
        RepositoryError::Conflict => {
            let message = format!("DeviceModel {code} exists already");
            ApiError::new(ErrorCode::RecordExists, message)
        }
        RepositoryError::Corrupt { .. } | RepositoryError::Unavailable { .. } => error.into(),
    }))?;
    Ok(HttpResponse::Created().json(ModelView::from(created)))
}

/// One model.
#[utoipa::path(get, path = "/api/device-models/{id}", tag = "models",
    operation_id = "get_device_model", params(("id" = i64, Path)),
    responses((status = 200, body = ModelView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_device_model(
    _: Viewer,
    id: web::Path<i64>,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let operation = models.begin("get_device_model");
    let found = models.find(*id).await.map_err(ApiError::from);
    let found = found.and_then(|found| found.ok_or_else(|| unknown_model(*id)));
    Ok(HttpResponse::Ok().json(ModelView::from(operation.end(found)?)))
}

/// Changes a model.
#[utoipa::path(put, path = "/api/device-models/{id}", tag = "models",
    operation_id = "update_device_model", params(("id" = i64, Path)),
    request_body(content = serde_json::Value, description = "`name`, `config_schema`; absent or null leaves as it is, an empty schema clears it"),
    responses((status = 200, body = ModelView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn update_device_model(
    caller: Editor,
    id: web::Path<i64>,
    body: JsonBody,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let update = model_update(body.0)?;
    let operation = models.begin("update_device_model");
    let updated = models.update(*id, update, caller.origin()).await.map_err(ApiError::from);
    let updated = updated.and_then(|updated| updated.ok_or_else(|| unknown_model(*id)));
    Ok(HttpResponse::Ok().json(ModelView::from(operation.end(updated)?)))
}

/// Deletes a model that has no devices.
#[utoipa::path(delete, path = "/api/device-models/{id}", tag = "models",
    operation_id = "delete_device_model", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 409, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn delete_device_model(
    caller: Editor,
    id: web::Path<i64>,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let operation = models.begin("delete_device_model");
    let deletion = models.delete(*id, caller.origin()).await.map_err(ApiError::from);
    operation.end(deletion.and_then(|deletion| match deletion {
        ModelDeletion::Deleted => Ok(HttpResponse::NoContent().finish()),
        ModelDeletion::NotFound => Err(unknown_model(*id)),
        ModelDeletion::InUse { devices } => Err(ApiError::new(
            ErrorCode::ResourceConflict,
            format!("DeviceModel {id} still has {devices} device(s)"),
        )),
    }))
}

/// 404 of a model.
pub fn unknown_model(identifier: impl std::fmt::Display) -> ApiError {
    ApiError::not_found("DeviceModel", identifier)
}

fn new_model(mut fields: JsonFields) -> Result<NewModel, ApiError> {
    let code = fields.required("code", model_code);
    let name = fields.required("name", |value| short_text(value, LONGEST_NAME));
    let config_schema = fields.optional("config_schema", schema_text);
    fields.finish()?;
    match (code, name, config_schema) {
        (Some(code), Some(name), Some(config_schema)) => Ok(NewModel { code, name, config_schema }),
        _ => Err(ApiError::unexpected("a field is missing without a fault")),
    }
}

fn model_update(mut fields: JsonFields) -> Result<ModelUpdate, ApiError> {
    let name = fields.optional("name", |value| short_text(value, LONGEST_NAME));
    let config_schema = fields.optional("config_schema", |value| match value.as_str() {
        Some("") => Ok(None),
        Some(_) | None => schema_text(value).map(Some),
    });
    fields.finish()?;
    Ok(ModelUpdate { name: name.flatten(), config_schema: config_schema.flatten() })
}

fn model_code(value: &Value) -> Result<ModelCode, String> {
    let text = verbatim_text(value)?;
    ModelCode::parse(&text).ok_or_else(|| "must match ^[a-z0-9_]{1,50}$".into())
}

fn schema_text(value: &Value) -> Result<String, String> {
    let text = verbatim_text(value)?;
    ConfigSchema::compile(&text).map(|_| text)
}
