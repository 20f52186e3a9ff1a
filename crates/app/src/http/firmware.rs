//! Firmware: uploads of pipelines and editors, versions, downloads (contract §5, §7.1, §8.2).

pub mod device;
pub mod downloads;
pub mod upload;
pub mod views;

use actix_web::{HttpResponse, web};
use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::firmware::repository::VersionDeletion;
use coredock_domain::firmware::versions::FirmwareOf;
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use coredock_domain::models::model::DeviceModel;
use coredock_domain::{DeviceModels, Firmware};

use super::models::unknown_model;
use super::request::error::{ApiError, ErrorCode, ErrorView};
use super::request::feature::Feature;
use super::request::identity::{Editor, Pipeline, Viewer};
use downloads::{Current, Desk};
use upload::Upload;
use views::{ActivatedView, CurrentVersionView, UploadedView, VersionListView};

/// Publishes a bundle, as a pipeline.
#[utoipa::path(post, path = "/api/pipeline/models/{code}/firmware", tag = "pipeline",
    operation_id = "pipeline_upload_firmware", params(("code" = String, Path)),
    request_body(content_type = "application/octet-stream", description = "The bundle as ZIP, raw or as the multipart part `file`"),
    responses((status = 200, body = UploadedView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 413, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn pipeline_upload_firmware(
    caller: Pipeline,
    code: web::Path<String>,
    upload: Upload,
) -> Result<HttpResponse, ApiError> {
    let operation = upload.begin("pipeline_upload_firmware");
    let outcome = async {
        let model = model_of_code(&upload.models, &code).await?;
        upload.publish(model, caller.origin()).await
    };
    operation.end(outcome.await)
}

/// Publishes a bundle, as an editor.
#[utoipa::path(post, path = "/api/device-models/{id}/firmware", tag = "models",
    operation_id = "upload_firmware", params(("id" = i64, Path)),
    request_body(content_type = "application/octet-stream", description = "The bundle as ZIP, raw or as the multipart part `file`"),
    responses((status = 200, body = UploadedView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 413, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn upload_firmware(
    caller: Editor,
    id: web::Path<i64>,
    upload: Upload,
) -> Result<HttpResponse, ApiError> {
    let operation = upload.begin("upload_firmware");
    let outcome = async {
        let model = upload.models.find(*id).await?.ok_or_else(|| unknown_model(*id))?;
        upload.publish(model, caller.origin()).await
    };
    operation.end(outcome.await)
}

/// The current version of a model, for a pipeline.
#[utoipa::path(get, path = "/api/pipeline/models/{code}/firmware-version", tag = "pipeline",
    operation_id = "pipeline_get_firmware_version", params(("code" = String, Path)),
    responses((status = 200, body = CurrentVersionView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn pipeline_get_firmware_version(
    _: Pipeline,
    code: web::Path<String>,
    models: Feature<DeviceModels>,
) -> Result<HttpResponse, ApiError> {
    let operation = models.begin("pipeline_get_firmware_version");
    let model = operation.end(model_of_code(&models, &code).await)?.summary;
    Ok(HttpResponse::Ok().json(CurrentVersionView {
        code: model.code.to_string(),
        firmware_version: model.firmware_version,
    }))
}

/// The current image of a model.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware", tag = "models",
    operation_id = "download_firmware", params(("id" = i64, Path)),
    responses((status = 200, description = "The image", content_type = "application/octet-stream"),
        (status = 206, description = "A range of it", content_type = "application/octet-stream"),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn download_firmware(
    _: Viewer,
    id: web::Path<i64>,
    desk: Desk,
) -> Result<HttpResponse, ApiError> {
    let operation = desk.firmware.begin("download_firmware");
    let current = Current { of: FirmwareOf::Model(*id), unknown: unknown_model(*id) };
    operation.end(desk.send_current(current).await)
}

/// The versions of a model, newest first.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware-versions", tag = "models",
    operation_id = "list_firmware_versions", params(("id" = i64, Path)),
    responses((status = 200, body = VersionListView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_firmware_versions(
    _: Viewer,
    id: web::Path<i64>,
    firmware: Feature<Firmware>,
) -> Result<HttpResponse, ApiError> {
    let operation = firmware.begin("list_firmware_versions");
    let listed = firmware.list(*id).await.map_err(ApiError::from);
    let listed = listed.and_then(|listed| listed.ok_or_else(|| unknown_model(*id)));
    Ok(HttpResponse::Ok().json(VersionListView::from(operation.end(listed)?)))
}

/// One artifact of a version.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware-versions/{version}/artifacts/{artifact}",
    tag = "models", operation_id = "download_artifact",
    params(("id" = i64, Path), ("version" = String, Path), ("artifact" = String, Path)),
    responses((status = 200, description = "The artifact", content_type = "application/octet-stream"),
        (status = 206, description = "A range of it", content_type = "application/octet-stream"),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn download_artifact(
    _: Viewer,
    path: web::Path<(i64, String, String)>,
    desk: Desk,
) -> Result<HttpResponse, ApiError> {
    let operation = desk.firmware.begin("download_artifact");
    let (id, version, artifact) = path.into_inner();
    let outcome = async {
        let unknown = |_| ApiError::not_found("Artifact", &artifact);
        let name = artifact.parse::<ArtifactName>().map_err(unknown)?;
        let version = version_text(&version)?;
        let of = FirmwareOf::Version(id, &version);
        desk.send_artifact(of, name, unknown_version(&version)).await
    };
    operation.end(outcome.await)
}

/// Makes a held version current.
#[utoipa::path(post, path = "/api/device-models/{id}/firmware-versions/{version}/activate",
    tag = "models", operation_id = "activate_firmware",
    params(("id" = i64, Path), ("version" = String, Path)),
    responses((status = 200, body = ActivatedView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn activate_firmware(
    caller: Editor,
    path: web::Path<(i64, String)>,
    firmware: Feature<Firmware>,
) -> Result<HttpResponse, ApiError> {
    let operation = firmware.begin("activate_firmware");
    let (id, version) = path.into_inner();
    let outcome = async {
        let version = version_text(&version)?;
        let activation = firmware.activate(id, &version, caller.origin()).await?;
        let activation = activation.ok_or_else(|| unknown_version(&version))?;
        Ok(HttpResponse::Ok().json(ActivatedView {
            code: activation.model.to_string(),
            firmware_version: version.to_string(),
            id,
        }))
    };
    operation.end(outcome.await)
}

/// Deletes a version that is neither current nor needed by a pending dump.
#[utoipa::path(delete, path = "/api/device-models/{id}/firmware-versions/{version}",
    tag = "models", operation_id = "delete_firmware_version",
    params(("id" = i64, Path), ("version" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 409, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn delete_firmware_version(
    caller: Editor,
    path: web::Path<(i64, String)>,
    firmware: Feature<Firmware>,
) -> Result<HttpResponse, ApiError> {
    let operation = firmware.begin("delete_firmware_version");
    let (id, version) = path.into_inner();
    let outcome = async {
        let version = version_text(&version)?;
        let conflict = |reason: String| ApiError::new(ErrorCode::ResourceConflict, reason);
        match firmware.delete(id, &version, caller.origin()).await? {
            VersionDeletion::Deleted => Ok(HttpResponse::NoContent().finish()),
            VersionDeletion::NotFound => Err(unknown_version(&version)),
            VersionDeletion::Current => {
                Err(conflict(format!("FirmwareVersion {version} is the current one")))
            }
            VersionDeletion::NeededByDumps { dumps } => Err(conflict(format!(
                "FirmwareVersion {version} is needed by {dumps} pending dump(s)"
            ))),
        }
    };
    operation.end(outcome.await)
}

fn unknown_version(version: &VersionText) -> ApiError {
    ApiError::not_found("FirmwareVersion", version)
}

fn version_text(segment: &str) -> Result<VersionText, ApiError> {
    VersionText::parse(segment).ok_or_else(|| ApiError::not_found("FirmwareVersion", segment))
}

async fn model_of_code(models: &DeviceModels, segment: &str) -> Result<DeviceModel, ApiError> {
    let unknown = || unknown_model(segment);
    let code = ModelCode::parse(segment).ok_or_else(unknown)?;
    models.find_by_code(&code).await?.ok_or_else(unknown)
}
