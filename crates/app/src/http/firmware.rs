//! Versions of firmware (contract §5, §7.1, §8.2).

pub mod downloads;
pub mod polls;
pub mod uploads;
pub mod views;

use actix_web::web::{Data, Json, Path};
use coredock_domain::firmware::repository::VersionDeletion;
use coredock_domain::ids::{ModelCode, VersionText};
use coredock_domain::models::model::DeviceModel;
use coredock_domain::{DeviceModels, Firmware};
use serde::Deserialize;

use super::models::unknown_model;
use super::request::answer::NoContent;
use super::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use super::request::identity::{Editor, Pipeline, Viewer};
use views::{ActivatedView, CurrentVersionView, VersionListView};

/// The segments of a path which name a version of a model.
#[derive(Deserialize)]
pub struct VersionSegments {
    id: i64,
    version: String,
}

type VersionPath = Path<VersionSegments>;

/// The versions of a model, newest first.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware-versions", tag = "models",
    operation_id = "list_firmware_versions", params(("id" = i64, Path)),
    responses((status = 200, body = VersionListView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_firmware_versions(
    _: Viewer,
    id: Path<i64>,
    firmware: Data<Firmware>,
) -> ApiResult<Json<VersionListView>> {
    let listed = firmware.list(*id).await?.ok_or_else(|| unknown_model(*id))?;
    Ok(Json(listed.into()))
}

/// The current version of a model, for a pipeline.
#[utoipa::path(get, path = "/api/pipeline/models/{code}/firmware-version", tag = "pipeline",
    operation_id = "pipeline_get_firmware_version", params(("code" = String, Path)),
    responses((status = 200, body = CurrentVersionView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn pipeline_get_firmware_version(
    _: Pipeline,
    code: Path<String>,
    models: Data<DeviceModels>,
) -> ApiResult<Json<CurrentVersionView>> {
    let model = model_of_code(&models, &code).await?.summary;
    let code = model.code.to_string();
    Ok(Json(CurrentVersionView { code, firmware_version: model.firmware_version }))
}

/// Makes a stored version current.
#[utoipa::path(post, path = "/api/device-models/{id}/firmware-versions/{version}/activate",
    tag = "models", operation_id = "activate_firmware",
    params(("id" = i64, Path), ("version" = String, Path)),
    responses((status = 200, body = ActivatedView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn activate_firmware(
    caller: Editor,
    path: VersionPath,
    firmware: Data<Firmware>,
) -> ApiResult<Json<ActivatedView>> {
    let version = version_text(&path.version)?;
    let activation = firmware.activate(path.id, &version, caller.origin()).await?;
    let activation = activation.ok_or_else(|| unknown_version(&version))?;
    Ok(Json(ActivatedView {
        code: activation.model.to_string(),
        firmware_version: version.to_string(),
        id: path.id,
    }))
}

/// Deletes a version that is neither current nor needed by a pending dump.
#[utoipa::path(delete, path = "/api/device-models/{id}/firmware-versions/{version}",
    tag = "models", operation_id = "delete_firmware_version",
    params(("id" = i64, Path), ("version" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 409, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn delete_firmware_version(
    caller: Editor,
    path: VersionPath,
    firmware: Data<Firmware>,
) -> ApiResult<NoContent> {
    let version = version_text(&path.version)?;
    let conflict = |reason: String| ApiError::new(ErrorCode::ResourceConflict, reason);
    match firmware.delete(path.id, &version, caller.origin()).await? {
        VersionDeletion::Deleted => Ok(NoContent),
        VersionDeletion::NotFound => Err(unknown_version(&version)),
        VersionDeletion::Current => {
            Err(conflict(format!("FirmwareVersion {version} is the current version of its model")))
        }
        VersionDeletion::NeededByDumps { dumps } => {
            Err(conflict(format!("FirmwareVersion {version} is needed by {dumps} pending dump(s)")))
        }
    }
}

fn unknown_version(version: &VersionText) -> ApiError {
    ApiError::not_found("FirmwareVersion", version)
}

fn version_text(segment: &str) -> ApiResult<VersionText> {
    VersionText::parse(segment).ok_or_else(|| ApiError::not_found("FirmwareVersion", segment))
}

async fn model_of_code(models: &DeviceModels, segment: &str) -> ApiResult<DeviceModel> {
    let unknown = || unknown_model(segment);
    let code = ModelCode::parse(segment).ok_or_else(unknown)?;
    models.find_by_code(&code).await?.ok_or_else(unknown)
}
