//! Sends artifacts of versions (contract §5.12).

use actix_web::{HttpRequest, HttpResponse, web};
use coredock_domain::Firmware;
use coredock_domain::artifact::ArtifactName;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::versions::{FirmwareOf, ReadArtifact, ReadFirmwareError};

use super::error::ApiError;
use super::transfer::{Download, DownloadKind, Plan, Representation};
use crate::logging::chain;
use crate::metrics::Metrics;

/// What requests for firmware work with.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The request.
    pub request: &'a HttpRequest,
    /// The versions.
    pub firmware: &'a web::Data<Firmware>,
    /// Where it is counted.
    pub metrics: &'a web::Data<Metrics>,
}

/// Whose current image is wanted, and the 404 when there is no such owner.
pub struct Current<'a> {
    /// Whose.
    pub of: FirmwareOf<'a>,
    /// The answer when there is no such device or model.
    pub unknown: ApiError,
}

impl Desk<'_> {
    /// Sends the current image of a model.
    pub async fn send_current(self, current: Current<'_>) -> Result<HttpResponse, ApiError> {
        let read = self.read(current.of, ArtifactName::Bin).await;
        let read = read.map_err(|error| match error {
            ReadFirmwareError::UnknownOwner => current.unknown,
            ReadFirmwareError::NoneCurrent(model) => ApiError::not_found("Firmware", model),
            error => self.read_error(&error),
        })?;
        let file_name = format!("firmware-{}.bin", read.version.model);
        let extra = vec![
            ("X-Firmware-Version", read.version.version.to_string()),
            ("X-Firmware-Sha256", read.version.facts.bin.sha256.to_string()),
        ];
        self.download(read, ArtifactName::Bin, DownloadKind::Firmware, (file_name, extra))
    }

    /// Sends one artifact of one version; `unknown` is the 404 when there is no such version.
    pub async fn send_artifact(
        self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
        unknown: ApiError,
    ) -> Result<HttpResponse, ApiError> {
        let read = self.read(of, artifact).await;
        let read = read.map_err(|error| match error {
            ReadFirmwareError::UnknownOwner | ReadFirmwareError::UnknownVersion => unknown,
            error => self.read_error(&error),
        })?;
        let file_name = format!("{}-{}-{artifact}", read.version.model, read.version.version);
        self.download(read, artifact, DownloadKind::Artifact, (file_name, Vec::new()))
    }

    async fn read(
        self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
    ) -> Result<ReadArtifact, ReadFirmwareError> {
        let plan = |version: &FirmwareVersion| {
            let object = representation(version, artifact);
            Plan::of(self.request, object).range(object.size)
        };
        self.firmware.read(of, artifact, &plan).await
    }

    fn download(
        self,
        read: ReadArtifact,
        artifact: ArtifactName,
        kind: DownloadKind,
        (file_name, extra): (String, Vec<(&'static str, String)>),
    ) -> Result<HttpResponse, ApiError> {
        let object = representation(&read.version, artifact);
        let Self { request, metrics, .. } = self;
        Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
    }

    /// A missing object is a 404 (contract §2.6), another object is an outage; both are broken
    /// invariants.
    fn read_error(self, error: &ReadFirmwareError) -> ApiError {
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
            ReadFirmwareError::UnknownOwner
            | ReadFirmwareError::UnknownVersion
            | ReadFirmwareError::NoneCurrent(_) => ApiError::unexpected(chain(error)),
        }
    }
}

fn representation(version: &FirmwareVersion, artifact: ArtifactName) -> Representation {
    let facts = version.facts.of(artifact);
    Representation { size: facts.size, sha256: facts.sha256, modified: version.uploaded_at }
}
