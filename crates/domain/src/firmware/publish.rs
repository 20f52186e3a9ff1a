//! Publishes bundles (contract §5.7, §5.8): objects before the row, one commit, and at no time can
//! a reader see a part of a set.

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::{ArtifactKey, ArtifactName};
use crate::artifacts::store::ArtifactStoreError;
use crate::audit::{Change, Origin};
use crate::error::RepositoryError;
use crate::firmware::publication::{
    BeginPublication, PublicationStart, PublishVersion, Published, PublishedObjects,
};
use crate::firmware::upload_lease::{LEASE, LeaseBackoff, LeaseLost, UploadLease};
use crate::firmware::{Firmware, FirmwareBundle, FirmwareVersion};
use crate::ids::{ModelCode, UploadId, VersionText};
use crate::wakeup::Worker;

/// How often a publication is tried when it loses its lease.
const MAX_ATTEMPTS: u32 = 5;
/// Versions that one run settles.
const UNSETTLED_BATCH: i64 = 100;

/// A bundle to be published.
pub struct PublishFirmware {
    pub model_id: i64,
    pub model: ModelCode,
    pub bundle: FirmwareBundle,
    pub origin: Origin,
}

/// The outcome of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationResult {
    /// The version is new.
    Created,
    /// The version exists with the same set.
    Unchanged,
    /// The version existed with another set.
    Replaced,
}

impl PublicationResult {
    /// The text in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Replaced => "replaced",
        }
    }
}

/// A committed publication.
#[derive(Debug, Clone)]
pub struct PublishedFirmware {
    pub result: PublicationResult,
    pub commit: Published,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFirmwareError {
    #[error("the model was deleted during the publication")]
    ModelDeleted,
    /// Another publication of the same version did not end in time.
    #[error("another publication of version {version} of model {model} is under way; try again")]
    Busy { model: ModelCode, version: VersionText },
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

impl Firmware {
    /// Publishes a bundle. When it returns `Ok` the set is durable, committed and current; when it
    /// returns an error nothing visible has changed (I2, I3).
    pub async fn publish(
        &self,
        request: PublishFirmware,
    ) -> Result<PublishedFirmware, PublishFirmwareError> {
        for _ in 1..MAX_ATTEMPTS {
            match self.try_publish(&request).await {
                Err(PublishFirmwareError::LeaseLost(_)) => {}
                outcome => return outcome,
            }
        }
        self.try_publish(&request).await
    }

    /// `LeaseLost` also when the existing row was deleted meanwhile: another attempt helps with
    /// both.
    async fn try_publish(
        &self,
        request: &PublishFirmware,
    ) -> Result<PublishedFirmware, PublishFirmwareError> {
        let upload = UploadId::random(&*self.ports.entropy);
        let existing = self.begin(&upload, request).await?;
        let outcome = match self.commit_set(&upload, request, existing.as_deref()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.lease(&upload).release().await;
                return Err(error);
            }
        };
        if outcome.result == PublicationResult::Replaced {
            self.settle_committed(&upload, request, outcome.commit.version_id).await;
        }
        self.lease(&upload).release().await;
        self.ports.wakeup.wake(Worker::Outbox);
        self.ports.wakeup.wake(Worker::Indexing);
        Ok(outcome)
    }

    /// Settles the sets whose publication was interrupted after its commit; returns how many.
    pub async fn settle_interrupted(&self) -> Result<usize, PublishFirmwareError> {
        let now = self.ports.clock.now();
        let mut settled = 0;
        for version in self.ports.publications.unsettled(now, UNSETTLED_BATCH).await? {
            let upload = UploadId::random(&*self.ports.entropy);
            let elf_sha256 = version.facts.build_id();
            let lease = BeginPublication {
                upload: upload.clone(),
                model_id: version.model_id,
                model: version.model.clone(),
                version: version.version.clone(),
                elf_sha256,
                now,
                until: now.after(LEASE),
            };
            let PublicationStart::Granted { existing: Some(existing) } =
                self.ports.publications.begin(lease).await?
            else {
                continue;
            };
            let outcome = self.lease(&upload).renew_during(self.settle(&existing)).await;
            self.lease(&upload).release().await;
            settled += usize::from(outcome?);
        }
        Ok(settled)
    }

    /// Waits for the lease, and returns the row of the version. It stays as it is until the lease
    /// is released.
    async fn begin(
        &self,
        upload: &UploadId,
        request: &PublishFirmware,
    ) -> Result<Option<Box<FirmwareVersion>>, PublishFirmwareError> {
        let mut backoff = LeaseBackoff::new(&*self.ports.clock);
        loop {
            let now = self.ports.clock.now();
            let start = self.ports.publications.begin(BeginPublication {
                upload: upload.clone(),
                model_id: request.model_id,
                model: request.model.clone(),
                version: request.bundle.version().clone(),
                elf_sha256: request.bundle.facts().build_id(),
                now,
                until: now.after(LEASE),
            });
            match start.await? {
                PublicationStart::Granted { existing } => return Ok(existing),
                PublicationStart::Busy if backoff.wait(now).await => {}
                PublicationStart::Busy => {
                    return Err(PublishFirmwareError::Busy {
                        model: request.model.clone(),
                        version: request.bundle.version().clone(),
                    });
                }
            }
        }
    }

    async fn commit_set(
        &self,
        upload: &UploadId,
        request: &PublishFirmware,
        existing: Option<&FirmwareVersion>,
    ) -> Result<PublishedFirmware, PublishFirmwareError> {
        let facts = request.bundle.facts();
        let unchanged = match existing {
            Some(existing) if existing.facts.identical(facts) => {
                self.lease(upload).renew_during(self.is_intact(existing)).await?
            }
            Some(_) | None => false,
        };
        let (result, objects) = match existing {
            None => (PublicationResult::Created, PublishedObjects::InPlace),
            Some(_) if unchanged => (PublicationResult::Unchanged, PublishedObjects::Unchanged),
            Some(_) => (PublicationResult::Replaced, PublishedObjects::Staged),
        };
        if objects != PublishedObjects::Unchanged {
            self.lease(upload).renew_during(self.write_set(upload, request, objects)).await?;
        }
        let publication = PublishVersion {
            upload: upload.clone(),
            model_id: request.model_id,
            version: request.bundle.version().clone(),
            facts: facts.clone(),
            objects,
            max_versions: self.settings.max_versions,
        };
        let change = Change::now(&*self.ports.clock, request.origin.clone());
        let commit = match self.ports.publications.publish(publication, &change).await? {
            Some(commit) => commit,
            None if self.ports.versions.offered_by(request.model_id).await?.is_none() => {
                return Err(PublishFirmwareError::ModelDeleted);
            }
            None => return Err(LeaseLost.into()),
        };
        Ok(PublishedFirmware { result, commit })
    }

    /// Whether every object of a set is stored: a 200 promises stored bytes (I2), so an upload
    /// writes a set again whose objects were lost.
    async fn is_intact(&self, version: &FirmwareVersion) -> Result<bool, PublishFirmwareError> {
        for artifact in ArtifactName::ALL {
            let (key, facts) = (version.key(artifact), version.facts.of(artifact));
            if !self.ports.reads.is_stored(&key, facts).await? {
                return Ok(false);
            }
        }
        let symbols = ArtifactKey::Symbols { elf_sha256: version.facts.build_id() };
        Ok(self.ports.reads.is_stored(&symbols, version.facts.elf).await?)
    }

    /// Writes symbols first, `firmware.bin` last (contract §5.7).
    async fn write_set(
        &self,
        upload: &UploadId,
        request: &PublishFirmware,
        objects: PublishedObjects,
    ) -> Result<(), PublishFirmwareError> {
        let bundle = &request.bundle;
        let elf_sha256 = bundle.facts().build_id();
        let symbols = ArtifactKey::Symbols { elf_sha256 };
        if !self.ports.reads.is_stored(&symbols, bundle.facts().elf).await? {
            let elf = ArtifactBody::File(bundle.artifact(ArtifactName::Elf).clone());
            self.ports.store.put(&symbols, &elf).await?;
        }
        for artifact in ArtifactName::ALL {
            let key = match objects {
                PublishedObjects::Staged => {
                    ArtifactKey::Staging { upload: upload.clone(), artifact }
                }
                PublishedObjects::InPlace | PublishedObjects::Unchanged => ArtifactKey::Firmware {
                    model: request.model.clone(),
                    version: bundle.version().clone(),
                    artifact,
                },
            };
            let body = ArtifactBody::File(bundle.artifact(artifact).clone());
            self.ports.store.put(&key, &body).await?;
        }
        Ok(())
    }

    /// A failure does not change the outcome, which is committed:
    /// [`Firmware::settle_interrupted`] settles the set later.
    async fn settle_committed(&self, upload: &UploadId, request: &PublishFirmware, id: i64) {
        let version = FirmwareVersion {
            id,
            model_id: request.model_id,
            model: request.model.clone(),
            version: request.bundle.version().clone(),
            facts: request.bundle.facts().clone(),
            uploaded_at: self.ports.clock.now(),
            staging: Some(upload.clone()),
        };
        if let Err(error) = self.lease(upload).renew_during(self.settle(&version)).await {
            tracing::warn!(
                key = %version.key(ArtifactName::Bin),
                error = &error as &dyn std::error::Error,
                "version {} of model {} is served from staging until its set is settled",
                version.version,
                version.model
            );
        }
    }

    /// Copies a staged set to its final keys, checks the copies and has it read from there; `false`
    /// when the row refers to another set by now.
    async fn settle(&self, version: &FirmwareVersion) -> Result<bool, PublishFirmwareError> {
        let Some(staging) = &version.staging else { return Ok(false) };
        for artifact in ArtifactName::ALL {
            let to = version.final_key(artifact);
            self.ports.store.copy(&version.key(artifact), &to).await?;
            if !self.ports.reads.is_stored(&to, version.facts.of(artifact)).await? {
                let error = "length or SHA-256 of the copy is not that of its source";
                return Err(ArtifactStoreError::unavailable("copy", to, error).into());
            }
        }
        let now = self.ports.clock.now();
        let settled = self.ports.publications.settle(version.id, staging, now).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(settled)
    }

    fn lease<'a>(&'a self, upload: &'a UploadId) -> UploadLease<'a> {
        UploadLease { leases: &*self.ports.publications, clock: &*self.ports.clock, upload }
    }
}
