//! Devices (contract §8.3).

pub mod config;
pub mod views;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use coredock_domain::Devices;
use coredock_domain::devices::SaveDeviceError;
use coredock_domain::devices::config::{ConfigMode, DeviceConfig};
use coredock_domain::devices::device::{DeviceFilter, DeviceUpdate, RotationState};
use coredock_domain::fields::{FieldFault, JsonFields, boolean, integer, verbatim_text};
use serde_json::Value;

use super::models::unknown_model;
use super::request::answer::{Created, NoContent};
use super::request::body::{FromBody, ValidBody, complete};
use super::request::error::{ApiError, ApiResult, ErrorView};
use super::request::identity::{Editor, Viewer};
use super::request::query::{FromQuery, QueryFields, ValidQuery};
use views::{DeviceListView, DeviceView};

/// The devices, by key.
#[utoipa::path(get, path = "/api/devices", tag = "devices", operation_id = "list_devices",
    params(("model_id" = Option<i64>, Query), ("rotation_state" = Option<String>, Query)),
    responses((status = 200, body = DeviceListView), (status = 400, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_devices(
    _: Viewer,
    query: ValidQuery<DevicesQuery>,
    devices: Data<Devices>,
) -> ApiResult<Json<DeviceListView>> {
    let listed = match query.0 {
        DevicesQuery::Filter(filter) => devices.list(filter).await?,
        DevicesQuery::Nothing => Vec::new(),
    };
    Ok(Json(listed.into()))
}

/// Creates a device with a new key.
#[utoipa::path(post, path = "/api/devices", tag = "devices", operation_id = "create_device",
    request_body(content = serde_json::Value, description = "`device_model_id`, `config` (a JSON text)"),
    responses((status = 201, body = DeviceView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn create_device(
    caller: Editor,
    device: ValidBody<NewDevice>,
    devices: Data<Devices>,
) -> ApiResult<Created<DeviceView>> {
    let NewDevice { model_id, config } = device.0;
    let created = devices.create(model_id, config, caller.origin()).await;
    Ok(Created(created.map_err(save_error)?.into()))
}

/// One device.
#[utoipa::path(get, path = "/api/devices/{id}", tag = "devices", operation_id = "get_device",
    params(("id" = i64, Path)),
    responses((status = 200, body = DeviceView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_device(
    _: Viewer,
    id: Path<i64>,
    devices: Data<Devices>,
) -> ApiResult<Json<DeviceView>> {
    let found = devices.find(*id).await?.ok_or_else(|| unknown_device(*id))?;
    Ok(Json(found.into()))
}

/// Changes the configuration and the `active` flag of a device.
#[utoipa::path(put, path = "/api/devices/{id}", tag = "devices", operation_id = "update_device",
    params(("id" = i64, Path)),
    request_body(content = serde_json::Value, description = "`config` (a JSON text), `active`"),
    responses((status = 200, body = DeviceView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn update_device(
    caller: Editor,
    id: Path<i64>,
    update: ValidBody<DeviceUpdate>,
    devices: Data<Devices>,
) -> ApiResult<Json<DeviceView>> {
    let updated = devices.update(*id, update.0, caller.origin()).await;
    Ok(Json(updated.map_err(save_error)?.into()))
}

/// Deletes a device and its dumps.
#[utoipa::path(delete, path = "/api/devices/{id}", tag = "devices",
    operation_id = "delete_device", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_device(
    caller: Editor,
    id: Path<i64>,
    devices: Data<Devices>,
) -> ApiResult<NoContent> {
    let deleted = devices.delete(*id, caller.origin()).await?;
    if deleted { Ok(NoContent) } else { Err(unknown_device(*id)) }
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

pub enum DevicesQuery {
    Filter(DeviceFilter),
    /// The requested state does not exist, so no device is in it.
    Nothing,
}

impl FromQuery for DevicesQuery {
    fn from_query(mut fields: QueryFields<'_>) -> ApiResult<Self> {
        let model_id = fields.optional("model_id", "must be an integer", integer_text);
        let state = fields.optional("rotation_state", "", |text| Some(RotationState::parse(text)));
        fields.finish()?;
        Ok(match state {
            None => Self::Filter(DeviceFilter { model_id, rotation_state: None }),
            Some(None) => Self::Nothing,
            Some(state) => Self::Filter(DeviceFilter { model_id, rotation_state: state }),
        })
    }
}

fn integer_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let numeric = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| text.parse().ok())?
}

pub struct NewDevice {
    model_id: i64,
    config: DeviceConfig,
}

impl FromBody for NewDevice {
    fn from_body(mut fields: JsonFields, request: &HttpRequest) -> ApiResult<Self> {
        let mode = config_mode(request)?;
        let model_id = fields.required("device_model_id", integer);
        let config = fields.nested("config", |value| device_config(value, mode));
        fields.finish()?;
        Ok(Self { model_id: complete(model_id)?, config: complete(config)? })
    }
}

impl FromBody for DeviceUpdate {
    fn from_body(mut fields: JsonFields, request: &HttpRequest) -> ApiResult<Self> {
        let mode = config_mode(request)?;
        let config = fields.nested("config", |value| device_config(value, mode));
        let active = fields.required("active", boolean);
        fields.finish()?;
        Ok(Self { config: complete(config)?, active: complete(active)? })
    }
}

fn config_mode(request: &HttpRequest) -> ApiResult<ConfigMode> {
    let devices = request.app_data::<Data<Devices>>();
    let missing = || ApiError::unexpected("the state of the server does not contain the devices");
    devices.map(|devices| devices.config_mode()).ok_or_else(missing)
}

fn device_config(value: &Value, mode: ConfigMode) -> Result<DeviceConfig, Vec<FieldFault>> {
    let text = verbatim_text(value).map_err(|message| vec![FieldFault::new("config", message)])?;
    DeviceConfig::parse(&text, mode)
}
