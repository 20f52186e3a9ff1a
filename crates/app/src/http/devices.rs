//! Devices (contract §8.3).

pub mod config;
pub mod views;

use actix_web::{HttpRequest, HttpResponse, web};
use coredock_domain::Devices;
use coredock_domain::devices::SaveDeviceError;
use coredock_domain::devices::config::{ConfigMode, DeviceConfig};
use coredock_domain::devices::device::{DeviceFilter, DeviceUpdate, RotationState};
use coredock_domain::fields::{FieldFault, JsonFields, boolean, integer, verbatim_text};
use serde_json::Value;

use super::models::unknown_model;
use super::request::body::JsonBody;
use super::request::error::{ApiError, ErrorView};
use super::request::feature::Feature;
use super::request::identity::{Editor, Viewer};
use super::request::query::QueryFields;
use views::{DeviceListView, DeviceView};

/// The devices, by key.
#[utoipa::path(get, path = "/api/devices", tag = "devices", operation_id = "list_devices",
    params(("model_id" = Option<i64>, Query), ("rotation_state" = Option<String>, Query)),
    responses((status = 200, body = DeviceListView), (status = 400, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_devices(
    _: Viewer,
    request: HttpRequest,
    devices: Feature<Devices>,
) -> Result<HttpResponse, ApiError> {
    let filter = device_filter(request.query_string())?;
    let operation = devices.begin("list_devices");
    let listed = match filter {
        Some(filter) => devices.list(filter).await.map_err(ApiError::from),
        None => Ok(Vec::new()),
    };
    Ok(HttpResponse::Ok().json(DeviceListView::from(operation.end(listed)?)))
}

/// Creates a device with a fresh key.
#[utoipa::path(post, path = "/api/devices", tag = "devices", operation_id = "create_device",
    request_body(content = serde_json::Value, description = "`device_model_id`, `config` (a JSON text)"),
    responses((status = 201, body = DeviceView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn create_device(
    caller: Editor,
    body: JsonBody,
    devices: Feature<Devices>,
) -> Result<HttpResponse, ApiError> {
    let (model_id, config) = new_device(body.0, devices.config_mode())?;
    let operation = devices.begin("create_device");
    let created = devices.create(model_id, config, caller.origin()).await;
    let created = operation.end(created.map_err(save_error))?;
    Ok(HttpResponse::Created().json(DeviceView::from(created)))
}

/// One device.
#[utoipa::path(get, path = "/api/devices/{id}", tag = "devices", operation_id = "get_device",
    params(("id" = i64, Path)),
    responses((status = 200, body = DeviceView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_device(
    _: Viewer,
    id: web::Path<i64>,
    devices: Feature<Devices>,
) -> Result<HttpResponse, ApiError> {
    let operation = devices.begin("get_device");
    let found = devices.find(*id).await.map_err(ApiError::from);
    let found = found.and_then(|found| found.ok_or_else(|| unknown_device(*id)));
    Ok(HttpResponse::Ok().json(DeviceView::from(operation.end(found)?)))
}

/// Changes configuration and mark of a device.
#[utoipa::path(put, path = "/api/devices/{id}", tag = "devices", operation_id = "update_device",
    params(("id" = i64, Path)),
    request_body(content = serde_json::Value, description = "`config` (a JSON text), `active`"),
    responses((status = 200, body = DeviceView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn update_device(
    caller: Editor,
    id: web::Path<i64>,
    body: JsonBody,
    devices: Feature<Devices>,
) -> Result<HttpResponse, ApiError> {
    let update = device_update(body.0, devices.config_mode())?;
    let operation = devices.begin("update_device");
    let updated = devices.update(*id, update, caller.origin()).await;
    let updated = operation.end(updated.map_err(save_error))?;
    Ok(HttpResponse::Ok().json(DeviceView::from(updated)))
}

/// Deletes a device and its dumps.
#[utoipa::path(delete, path = "/api/devices/{id}", tag = "devices",
    operation_id = "delete_device", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_device(
    caller: Editor,
    id: web::Path<i64>,
    devices: Feature<Devices>,
) -> Result<HttpResponse, ApiError> {
    let operation = devices.begin("delete_device");
    let deleted = devices.delete(*id, caller.origin()).await.map_err(ApiError::from);
    operation.end(deleted.and_then(|deleted| {
        if deleted { Ok(HttpResponse::NoContent().finish()) } else { Err(unknown_device(*id)) }
    }))
}

pub(super) fn unknown_device(id: i64) -> ApiError {
    ApiError::not_found("Device", id)
}

fn save_error(error: SaveDeviceError) -> ApiError {
    match error {
        SaveDeviceError::UnknownModel(id) => unknown_model(id),
        SaveDeviceError::UnknownDevice(id) => unknown_device(id),
        SaveDeviceError::Config(faults) => faults.into(),
        SaveDeviceError::Repository(error) => error.into(),
    }
}

/// `None` when no device can pass: a state that does not exist.
fn device_filter(query: &str) -> Result<Option<DeviceFilter>, Vec<FieldFault>> {
    let mut fields = QueryFields::new(query);
    let model_id = fields.optional("model_id", "must be an integer", integer_text);
    let state = fields.optional("rotation_state", "", |state| Some(RotationState::parse(state)));
    fields.finish()?;
    Ok(match state {
        None => Some(DeviceFilter { model_id, rotation_state: None }),
        Some(known) => known.map(|state| DeviceFilter { model_id, rotation_state: Some(state) }),
    })
}

fn integer_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let numeric = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| text.parse().ok())?
}

fn new_device(mut fields: JsonFields, mode: ConfigMode) -> Result<(i64, DeviceConfig), ApiError> {
    let model_id = fields.required("device_model_id", integer);
    let config = fields.nested("config", |value| device_config(value, mode));
    fields.finish()?;
    model_id.zip(config).ok_or_else(|| ApiError::unexpected("a field is missing without a fault"))
}

fn device_update(mut fields: JsonFields, mode: ConfigMode) -> Result<DeviceUpdate, ApiError> {
    let config = fields.nested("config", |value| device_config(value, mode));
    let active = fields.required("active", boolean);
    fields.finish()?;
    let both = config.zip(active).map(|(config, active)| DeviceUpdate { config, active });
    both.ok_or_else(|| ApiError::unexpected("a field is missing without a fault"))
}

fn device_config(value: &Value, mode: ConfigMode) -> Result<DeviceConfig, Vec<FieldFault>> {
    let text = verbatim_text(value).map_err(|message| vec![FieldFault::new("config", message)])?;
    DeviceConfig::parse(&text, mode)
}
