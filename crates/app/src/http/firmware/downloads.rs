//! Downloads of artifacts of versions (contract §5.12).

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use coredock_domain::Firmware;
use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::versions::{FirmwareOf, ReadArtifact, ReadFirmwareError};
use serde::Deserialize;

use super::{unknown_version, version_text};
use crate::http::models::unknown_model;
use crate::http::request::conditions::{Plan, Representation};
use crate::http::request::error::{ApiError, ApiResult, ErrorView};
use crate::http::request::identity::{DeviceCaller, Viewer};
use crate::http::request::transfer::{Download, DownloadKind};
use crate::metrics::Metrics;

/// The image of the current version of the device's model.
#[utoipa::path(
    get, path = "/api/iot/firmware", tag = "device", operation_id = "get_iot_firmware",
    params(("device_key" = Option<String>, Query, description = "The device, without OIDC")),
    responses(
        (status = 200, description = "The image", content_type = "application/octet-stream"),
        (status = 206, description = "A range of the image",
            content_type = "application/octet-stream"),
        (status = 304, description = "The caller already has the image"),
        (status = 401, body = ErrorView), (status = 404, body = ErrorView),
        (status = 412, body = ErrorView), (status = 416, body = ErrorView),
        (status = 503, body = ErrorView),
    )
)]
pub async fn get_iot_firmware(
    caller: DeviceCaller,
    request: HttpRequest,
    firmware: Data<Firmware>,
    metrics: Data<Metrics>,
) -> ApiResult<HttpResponse> {
    let of = FirmwareOf::Device(caller.claim()?);
    let read = read(&firmware, of, ArtifactName::Bin, &request).await;
    let read = read.map_err(|error| read_error(&error, &metrics, || caller.unknown()))?;
    answer_image(read, &request, &metrics)
}

/// The current image of a model.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware", tag = "models",
    operation_id = "download_firmware", params(("id" = i64, Path)),
    responses((status = 200, description = "The image", content_type = "application/octet-stream"),
        (status = 206, description = "A range of the image",
            content_type = "application/octet-stream"),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn download_firmware(
    _: Viewer,
    id: Path<i64>,
    request: HttpRequest,
    firmware: Data<Firmware>,
    metrics: Data<Metrics>,
) -> ApiResult<HttpResponse> {
    let read = read(&firmware, FirmwareOf::Model(*id), ArtifactName::Bin, &request).await;
    let read = read.map_err(|error| read_error(&error, &metrics, || unknown_model(*id)))?;
    answer_image(read, &request, &metrics)
}

/// The segments of a path which name an artifact.
#[derive(Deserialize)]
pub struct ArtifactSegments {
    id: i64,
    version: String,
    artifact: String,
}

type ArtifactPath = Path<ArtifactSegments>;

/// One artifact of a version.
#[utoipa::path(get, path = "/api/device-models/{id}/firmware-versions/{version}/artifacts/{artifact}",
    tag = "models", operation_id = "download_artifact",
    params(("id" = i64, Path), ("version" = String, Path), ("artifact" = String, Path)),
    responses((status = 200, description = "The artifact", content_type = "application/octet-stream"),
        (status = 206, description = "A range of the artifact",
            content_type = "application/octet-stream"),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn download_artifact(
    _: Viewer,
    path: ArtifactPath,
    request: HttpRequest,
    firmware: Data<Firmware>,
    metrics: Data<Metrics>,
) -> ApiResult<HttpResponse> {
    let unknown = |_| ApiError::not_found("Artifact", &path.artifact);
    let artifact = path.artifact.parse::<ArtifactName>().map_err(unknown)?;
    let version = version_text(&path.version)?;
    let read = read(&firmware, FirmwareOf::Version(path.id, &version), artifact, &request).await;
    let read = read.map_err(|error| read_error(&error, &metrics, || unknown_version(&version)))?;
    let file_name = format!("{}-{}-{artifact}", read.version.model, read.version.version);
    let object = representation(&read.version, artifact);
    let (kind, extra) = (DownloadKind::Artifact, Vec::new());
    let (request, metrics) = (&request, &metrics);
    Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
}

/// Opens the part of the artifact that the request asks for.
async fn read(
    firmware: &Firmware,
    of: FirmwareOf<'_>,
    artifact: ArtifactName,
    request: &HttpRequest,
) -> Result<ReadArtifact, ReadFirmwareError> {
    let plan = |version: &FirmwareVersion| {
        let object = representation(version, artifact);
        Plan::of(request, object).range(object.size)
    };
    firmware.read(of, artifact, &plan).await
}

fn answer_image(
    read: ReadArtifact,
    request: &HttpRequest,
    metrics: &Data<Metrics>,
) -> ApiResult<HttpResponse> {
    let file_name = format!("firmware-{}.bin", read.version.model);
    let extra = vec![
        ("X-Firmware-Version", read.version.version.to_string()),
        ("X-Firmware-Sha256", read.version.facts.bin.sha256.to_string()),
    ];
    let object = representation(&read.version, ArtifactName::Bin);
    let kind = DownloadKind::Firmware;
    Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
}

/// A missing object is a 404 (contract §2.6), an object with other content a 503; each violates an
/// invariant. `unknown` is the 404 of the device, model or version.
fn read_error(
    error: &ReadFirmwareError,
    metrics: &Metrics,
    unknown: impl FnOnce() -> ApiError,
) -> ApiError {
    match error {
        ReadFirmwareError::ObjectMissing(object) => {
            metrics.violation("object_missing");
            let key = &object.key;
            tracing::error!(%key, "object {key} is in the database, but not in the artifact store; restore it from a backup or upload the version again");
            ApiError::not_found("Firmware", &object.model)
        }
        ReadFirmwareError::ObjectDiffers(object) => {
            metrics.violation("object_differs");
            let key = &object.key;
            tracing::error!(%key, "object {key} is not the one that was stored: its length or SHA-256 differs from the database");
            ApiError::unavailable(error)
        }
        ReadFirmwareError::ForeignModel(error) => error.into(),
        ReadFirmwareError::Repository(error) => error.into(),
        ReadFirmwareError::Store(error) => error.into(),
        ReadFirmwareError::Load(_) => ApiError::unavailable(error),
        ReadFirmwareError::UnknownDeviceOrModel | ReadFirmwareError::UnknownVersion => unknown(),
        ReadFirmwareError::NoneCurrent(model) => ApiError::not_found("Firmware", model),
    }
}

fn representation(version: &FirmwareVersion, artifact: ArtifactName) -> Representation {
    let facts = version.facts.of(artifact);
    Representation { size: facts.size, sha256: facts.sha256, modified: version.uploaded_at }
}
