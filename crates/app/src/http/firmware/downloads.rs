//! Sends artifacts of versions (contract §5.12).

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, web};
use coredock_domain::Firmware;
use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::versions::{FirmwareOf, ReadArtifact, ReadFirmwareError};

use crate::http::request::conditions::{Plan, Representation};
use crate::http::request::error::ApiError;
use crate::http::request::feature::Feature;
use crate::http::request::transfer::{Download, DownloadKind};
use crate::metrics::Metrics;

/// What requests for artifacts work with.
pub struct Desk {
    request: HttpRequest,
    metrics: web::Data<Metrics>,
    /// The versions.
    pub firmware: Feature<Firmware>,
}

impl FromRequest for Desk {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let from = |payload: &mut Payload| {
            Ok(Self {
                request: request.clone(),
                metrics: web::Data::from_request(request, payload).into_inner()?,
                firmware: Feature::from_request(request, payload).into_inner()?,
            })
        };
        ready(from(payload))
    }
}

/// Whose current image is wanted, and the 404 when there is no such owner.
pub struct Current<'a> {
    /// Whose.
    pub of: FirmwareOf<'a>,
    /// The answer when there is no such device or model.
    pub unknown: ApiError,
}

impl Desk {
    /// Sends the current image of a model.
    pub async fn send_current(self, current: Current<'_>) -> Result<HttpResponse, ApiError> {
        let read = self.read(current.of, ArtifactName::Bin).await;
        let read = read.map_err(|error| self.read_error(&error, current.unknown))?;
        let file_name = format!("firmware-{}.bin", read.version.model);
        let extra = vec![
            ("X-Firmware-Version", read.version.version.to_string()),
            ("X-Firmware-Sha256", read.version.facts.bin.sha256.to_string()),
        ];
        let object = representation(&read.version, ArtifactName::Bin);
        let kind = DownloadKind::Firmware;
        let (request, metrics) = (&self.request, &self.metrics);
        Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
    }

    /// Sends one artifact of one version; `unknown` is the 404 when there is no such version.
    pub async fn send_artifact(
        &self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
        unknown: ApiError,
    ) -> Result<HttpResponse, ApiError> {
        let read = self.read(of, artifact).await;
        let read = read.map_err(|error| self.read_error(&error, unknown))?;
        let file_name = format!("{}-{}-{artifact}", read.version.model, read.version.version);
        let object = representation(&read.version, artifact);
        let (kind, extra) = (DownloadKind::Artifact, Vec::new());
        let (request, metrics) = (&self.request, &self.metrics);
        Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
    }

    async fn read(
        &self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
    ) -> Result<ReadArtifact, ReadFirmwareError> {
        let plan = |version: &FirmwareVersion| {
            let object = representation(version, artifact);
            Plan::of(&self.request, object).range(object.size)
        };
        self.firmware.read(of, artifact, &plan).await
    }

    /// A missing object is a 404 (contract §2.6), another object is an outage; both are broken
    /// invariants.
    fn read_error(&self, error: &ReadFirmwareError, unknown: ApiError) -> ApiError {
        match error {
            ReadFirmwareError::ObjectMissing(object) => {
                self.metrics.violation("object_missing");
                tracing::error!(key = %object.key, "a visible row has no object");
                ApiError::not_found("Firmware", &object.model)
            }
            ReadFirmwareError::ObjectDiffers(object) => {
                self.metrics.violation("object_differs");
                tracing::error!(key = %object.key, "a visible row has another object than it says");
                ApiError::unavailable(error)
            }
            ReadFirmwareError::Repository(error) => error.into(),
            ReadFirmwareError::Store(error) => error.into(),
            ReadFirmwareError::Load(_) => ApiError::unavailable(error),
            ReadFirmwareError::UnknownOwner | ReadFirmwareError::UnknownVersion => unknown,
            ReadFirmwareError::NoneCurrent(model) => ApiError::not_found("Firmware", model),
        }
    }
}

fn representation(version: &FirmwareVersion, artifact: ArtifactName) -> Representation {
    let facts = version.facts.of(artifact);
    Representation { size: facts.size, sha256: facts.sha256, modified: version.uploaded_at }
}
