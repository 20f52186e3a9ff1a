//! Takes a firmware upload from the wire to its commit (contract §5.2–§5.8).

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::audit::Origin;
use coredock_domain::firmware::publish::{
    PublishFirmware, PublishFirmwareError, PublishedFirmware,
};
use coredock_domain::firmware::{BundleError, BundleRules, FirmwareBundle};
use coredock_domain::ids::ModelCode;
use coredock_domain::models::model::DeviceModel;
use coredock_domain::{DeviceModels, Firmware};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::views::UploadedView;
use crate::http::models::unknown_model;
use crate::http::request::body::firmware_upload;
use crate::http::request::error::{ApiError, ErrorCode};
use crate::http::request::feature::Operation;
use crate::logging::chain;
use crate::metrics::Metrics;

/// What uploads are held to, and where they are spooled.
pub struct UploadRules {
    /// Largest body in bytes.
    pub body_bytes: u64,
    /// Caps and gate of the bundle.
    pub bundle: BundleRules,
    /// Where bodies and entries are spooled.
    pub spool: SpoolDirectory,
    /// Publications go on here when their caller has gone.
    pub tasks: TaskTracker,
}

/// A firmware upload whose body has not been read yet.
pub struct Upload {
    request: HttpRequest,
    payload: web::Payload,
    rules: web::Data<UploadRules>,
    firmware: web::Data<Firmware>,
    /// The models uploads are for.
    pub models: web::Data<DeviceModels>,
    metrics: web::Data<Metrics>,
}

impl FromRequest for Upload {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let from = |payload: &mut Payload| {
            Ok(Self {
                payload: web::Payload::from_request(request, payload).into_inner()?,
                rules: web::Data::from_request(request, payload).into_inner()?,
                firmware: web::Data::from_request(request, payload).into_inner()?,
                models: web::Data::from_request(request, payload).into_inner()?,
                metrics: web::Data::from_request(request, payload).into_inner()?,
                request: request.clone(),
            })
        };
        ready(from(payload))
    }
}

impl Upload {
    /// Begins to time an operation (contract §14.2).
    pub fn begin(&self, name: &'static str) -> Operation {
        Operation::begin(name, &self.metrics)
    }

    /// Reads, checks and publishes the bundle.
    pub async fn publish(
        self,
        model: DeviceModel,
        origin: Origin,
    ) -> Result<HttpResponse, ApiError> {
        let metrics = self.metrics.clone();
        let outcome = self.publish_uncounted(model, origin).await;
        let result = match &outcome {
            Ok(uploaded) => uploaded.result,
            Err(error) if error.is_refusal() => "rejected",
            Err(_) => "error",
        };
        metrics.firmware_uploads.with_label_values(&[result]).inc();
        Ok(HttpResponse::Ok().json(outcome?))
    }

    async fn publish_uncounted(
        self,
        model: DeviceModel,
        origin: Origin,
    ) -> Result<UploadedView, ApiError> {
        let Self { request, payload, rules, firmware, metrics, .. } = self;
        let body = firmware_upload(payload, &request, &rules.spool, rules.body_bytes).await?;
        metrics.firmware_upload_bytes.inc_by(body.length());
        let code = model.summary.code;
        let bundle = open_bundle(body, code.clone(), &rules).await?;
        let facts = bundle.facts().clone();
        let version = bundle.version().to_string();
        let id = model.summary.id;
        let request = PublishFirmware { model_id: id, model: code.clone(), bundle, origin };
        // A caller that hangs up must not leave a publication half-way until its lease ends.
        let firmware = firmware.get_ref().clone();
        let publication = async move { firmware.publish(request).await }.in_current_span();
        let published = rules.tasks.spawn(publication).await;
        let published = published.map_err(|error| ApiError::unexpected(error.to_string()))?;
        let published = published.map_err(|error| publish_error(&error, &code))?;
        note_retention(&published, &code, &version, &metrics);
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
}

async fn open_bundle(
    body: SpooledFile,
    model: ModelCode,
    rules: &UploadRules,
) -> Result<FirmwareBundle, ApiError> {
    let (bundle_rules, spool) = (rules.bundle, rules.spool.clone());
    let open = move || FirmwareBundle::open(&body, &model, bundle_rules, &spool);
    let opened = web::block(open).await;
    let opened = opened.map_err(|error| ApiError::unexpected(error.to_string()))?;
    opened.map_err(|error| bundle_error(&error))
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
        PublishFirmwareError::ModelGone => unknown_model(model),
        PublishFirmwareError::Busy | PublishFirmwareError::LeaseLost(_) => {
            ApiError::outage(chain(error))
        }
        PublishFirmwareError::Repository(error) => error.into(),
        PublishFirmwareError::Store(error) => error.into(),
    }
}

/// The events `firmware_uploaded` and `firmware_retention_pruned` (contract §14.3).
fn note_retention(
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
        "firmware uploaded"
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
            "old versions removed"
        );
    }
}
