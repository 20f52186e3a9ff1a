//! Uploads of firmware, from the request to the commit (contract §5.2–§5.8).

use actix_web::web::{self, Data, Json, Path};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::audit::Origin;
use coredock_domain::firmware::publish::{
    PublishFirmware, PublishFirmwareError, PublishedFirmware,
};
use coredock_domain::firmware::{BundleError, BundleRules, FirmwareBundle};
use coredock_domain::ids::ModelCode;
use coredock_domain::models::model::DeviceModel;
use coredock_domain::{DeviceModels, Firmware};

use super::model_of_code;
use super::views::UploadedView;
use crate::http::models::unknown_model;
use crate::http::request::body::UnreadBody;
use crate::http::request::detached::DetachedTasks;
use crate::http::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use crate::http::request::identity::{Editor, Pipeline};
use crate::logging::chain;
use crate::metrics::Metrics;

/// Publishes a bundle, as a pipeline.
#[utoipa::path(post, path = "/api/pipeline/models/{code}/firmware", tag = "pipeline",
    operation_id = "pipeline_upload_firmware", params(("code" = String, Path)),
    request_body(content_type = "application/octet-stream", description = "The bundle as ZIP, raw or as the multipart part `file`"),
    responses((status = 200, body = UploadedView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 413, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn pipeline_upload_firmware(
    caller: Pipeline,
    code: Path<String>,
    body: UnreadBody,
    models: Data<DeviceModels>,
    uploads: Data<FirmwareUploads>,
) -> ApiResult<Json<UploadedView>> {
    let model = model_of_code(&models, &code).await?;
    Ok(Json(uploads.receive(model, body, caller.origin()).await?))
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
    id: Path<i64>,
    body: UnreadBody,
    models: Data<DeviceModels>,
    uploads: Data<FirmwareUploads>,
) -> ApiResult<Json<UploadedView>> {
    let model = models.find(*id).await?.ok_or_else(|| unknown_model(*id))?;
    Ok(Json(uploads.receive(model, body, caller.origin()).await?))
}

/// Reads, checks and publishes uploaded bundles.
pub struct FirmwareUploads {
    pub firmware: Firmware,
    /// Limits and image gate of a bundle.
    pub rules: BundleRules,
    /// Where bodies and their entries are spooled.
    pub spool: SpoolDirectory,
    pub tasks: DetachedTasks,
    pub metrics: Metrics,
}

impl FirmwareUploads {
    /// Counts the bundle by its result.
    async fn receive(
        &self,
        model: DeviceModel,
        body: UnreadBody,
        origin: Origin,
    ) -> ApiResult<UploadedView> {
        let outcome = self.publish(model, body, origin).await;
        let result = match &outcome {
            Ok(uploaded) => uploaded.result,
            Err(error) if error.is_refusal() => "rejected",
            Err(_) => "error",
        };
        self.metrics.firmware_uploads.with_label_values(&[result]).inc();
        outcome
    }

    async fn publish(
        &self,
        model: DeviceModel,
        body: UnreadBody,
        origin: Origin,
    ) -> ApiResult<UploadedView> {
        let (id, code) = (model.summary.id, model.summary.code);
        let body = body.into_uploaded_file(&self.spool).await?;
        if body.length() == 0 {
            return Err(ApiError::invalid("expected a firmware bundle, found an empty body"));
        }
        self.metrics.firmware_upload_bytes.inc_by(body.length());
        let bundle = self.open(body, code.clone()).await?;
        let facts = bundle.facts().clone();
        let version = bundle.version().to_string();
        let publish = PublishFirmware { model_id: id, model: code.clone(), bundle, origin };
        // A caller that hangs up must not leave a publication half-way until its lease ends.
        let firmware = self.firmware.clone();
        let published = self.tasks.run(async move { firmware.publish(publish).await }).await?;
        let published = published.map_err(|error| publish_error(&error, &code))?;
        log_publication(&published, &code, &version, &self.metrics);
        Ok(UploadedView {
            code: code.to_string(),
            firmware_version: version,
            id,
            result: published.result.as_str(),
            size: facts.bin.size,
            sha256: facts.bin.sha256.to_string(),
            elf_sha256: facts.build_id().to_string(),
        })
    }

    async fn open(&self, body: SpooledFile, model: ModelCode) -> ApiResult<FirmwareBundle> {
        let (rules, spool) = (self.rules, self.spool.clone());
        let open = move || FirmwareBundle::open(&body, &model, rules, &spool);
        web::block(open).await?.map_err(|error| bundle_error(&error))
    }
}

fn bundle_error(error: &BundleError) -> ApiError {
    if error.is_outage() {
        ApiError::unavailable(error)
    } else if error.is_too_large() {
        ApiError::new(ErrorCode::PayloadTooLarge, error.to_string())
    } else {
        ApiError::invalid(error.to_string())
    }
}

fn publish_error(error: &PublishFirmwareError, model: &ModelCode) -> ApiError {
    match error {
        PublishFirmwareError::ModelDeleted => unknown_model(model),
        PublishFirmwareError::Busy { .. } | PublishFirmwareError::LeaseLost(_) => {
            ApiError::outage(chain(error))
        }
        PublishFirmwareError::Repository(error) => error.into(),
        PublishFirmwareError::Store(error) => error.into(),
    }
}

/// The events `firmware_uploaded` and `firmware_retention_pruned` (contract §14.3).
fn log_publication(
    published: &PublishedFirmware,
    model: &ModelCode,
    version: &str,
    metrics: &Metrics,
) {
    let (pruned, protected) = (&published.commit.pruned, &published.commit.protected);
    tracing::info!(
        event = "firmware_uploaded",
        model = %model,
        version,
        result = published.result.as_str(),
        current_changed = published.commit.pointer_changed,
        "firmware {version} of model {model} uploaded: {}",
        published.result.as_str()
    );
    let removed = metrics.retention_removed.with_label_values(&["firmware"]);
    removed.inc_by(pruned.len() as u64);
    let spared = metrics.retention_protected.with_label_values(&["pending_coredump"]);
    spared.inc_by(protected.len() as u64);
    if !pruned.is_empty() || !protected.is_empty() {
        tracing::info!(
            event = "firmware_retention_pruned",
            model = %model,
            pruned = pruned.len(),
            protected = protected.len(),
            versions = ?pruned.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "retention removed {} versions of model {model} and spared {} for pending dumps",
            pruned.len(),
            protected.len()
        );
    }
}
