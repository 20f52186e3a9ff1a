//! Publishing a bundle (contract §5.7, §5.8): bytes before the row, one commit, and never a moment
//! at which a reader could see half of a set.

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::{ArtifactKey, ArtifactName};
use crate::artifacts::store::ArtifactStoreError;
use crate::audit::{Change, Origin};
use crate::error::RepositoryError;
use crate::firmware::publication::{
    BeginPublication, PublicationStart, PublishVersion, Published, PublishedObjects,
};
use crate::firmware::upload_lease::{LEASE, LeaseLost, UploadLease, Wait};
use crate::firmware::{Firmware, FirmwareBundle, FirmwareVersion};
use crate::ids::ModelCode;
use crate::ids::UploadId;
use crate::ids::VersionText;
use crate::wakeup::Worker;

/// How often a publication starts over because the ground moved under it.
const ATTEMPTS: u32 = 5;
/// Interrupted publications taken up at once.
const UNSETTLED_BATCH: i64 = 100;

/// What is to be published, and for whom.
pub struct PublishFirmware {
    /// Row of the model.
    pub model_id: i64,
    /// Code of the model.
    pub model: ModelCode,
    /// The checked bundle.
    pub bundle: FirmwareBundle,
    /// Who asks.
    pub origin: Origin,
}

/// What came of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationResult {
    /// The version is new.
    Created,
    /// The held set is identical.
    Unchanged,
    /// Another set was held.
    Replaced,
}

impl PublicationResult {
    /// The text on the wire and in metrics.
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
    /// What came of it.
    pub result: PublicationResult,
    /// What the commit changed.
    pub commit: Published,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFirmwareError {
    /// The model was deleted meanwhile.
    #[error("model does not exist")]
    ModelGone,
    /// Another publication of the same version did not end in time.
    #[error("another publication of the version is under way")]
    Busy,
    /// The lease ran out before the commit.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// The database failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
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
        for _ in 1..ATTEMPTS {
            match self.try_publish(&request).await {
                Err(PublishFirmwareError::LeaseLost(_)) => {}
                outcome => return outcome,
            }
        }
        self.try_publish(&request).await
    }

    /// `LeaseLost` also when the held row was deleted under it: either way starting over helps.
    async fn try_publish(
        &self,
        request: &PublishFirmware,
    ) -> Result<PublishedFirmware, PublishFirmwareError> {
        let upload = UploadId::random(&*self.ports.entropy);
        let held = self.begin(&upload, request).await?;
        let outcome = match self.commit_set(&upload, request, held.as_deref()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.lease(&upload).give_back().await;
                return Err(error);
            }
        };
        if outcome.result == PublicationResult::Replaced {
            self.settle_committed(&upload, request, outcome.commit.version_id).await;
        }
        self.lease(&upload).give_back().await;
        self.ports.wakeup.wake(Worker::Outbox);
        self.ports.wakeup.wake(Worker::Indexing);
        Ok(outcome)
    }

    /// Finishes publications whose last step was interrupted; returns how many.
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
            let PublicationStart::Granted { held: Some(held) } =
                self.ports.publications.begin(lease).await?
            else {
                continue;
            };
            let outcome = self.lease(&upload).keep(self.settle(&held)).await;
            self.lease(&upload).give_back().await;
            settled += usize::from(outcome?);
        }
        Ok(settled)
    }

    /// Waits for the lease; the set held at that moment stays until the lease is given back.
    async fn begin(
        &self,
        upload: &UploadId,
        request: &PublishFirmware,
    ) -> Result<Option<Box<FirmwareVersion>>, PublishFirmwareError> {
        let mut wait = Wait::begin(&*self.ports.clock);
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
                PublicationStart::Granted { held } => return Ok(held),
                PublicationStart::Busy if wait.again(now).await => {}
                PublicationStart::Busy => return Err(PublishFirmwareError::Busy),
            }
        }
    }

    async fn commit_set(
        &self,
        upload: &UploadId,
        request: &PublishFirmware,
        held: Option<&FirmwareVersion>,
    ) -> Result<PublishedFirmware, PublishFirmwareError> {
        let facts = request.bundle.facts();
        let stays = match held {
            Some(held) if held.facts.identical(facts) => {
                self.lease(upload).keep(self.is_intact(held)).await?
            }
            Some(_) | None => false,
        };
        let (result, objects) = match held {
            None => (PublicationResult::Created, PublishedObjects::InPlace),
            Some(_) if stays => (PublicationResult::Unchanged, PublishedObjects::Unchanged),
            Some(_) => (PublicationResult::Replaced, PublishedObjects::Staged),
        };
        if objects != PublishedObjects::Unchanged {
            self.lease(upload).keep(self.write_set(upload, request, objects)).await?;
        }
        let publication = PublishVersion {
            upload: upload.clone(),
            model_id: request.model_id,
            version: request.bundle.version().clone(),
            facts: facts.clone(),
            objects,
            kept_versions: self.settings.kept_versions,
        };
        let change = Change::now(&*self.ports.clock, request.origin.clone());
        let commit = match self.ports.publications.publish(publication, &change).await? {
            Some(commit) => commit,
            None if self.ports.versions.offered_by(request.model_id).await?.is_none() => {
                return Err(PublishFirmwareError::ModelGone);
            }
            None => return Err(LeaseLost.into()),
        };
        Ok(PublishedFirmware { result, commit })
    }

    /// Whether every object of a held set is there: a 200 speaks of stored bytes (I2), so an
    /// upload repairs what was lost behind our back.
    async fn is_intact(&self, held: &FirmwareVersion) -> Result<bool, PublishFirmwareError> {
        for artifact in ArtifactName::ALL {
            if !self.ports.reads.holds(&held.key(artifact), held.facts.of(artifact)).await? {
                return Ok(false);
            }
        }
        let elf_sha256 = held.facts.build_id();
        Ok(self.ports.reads.holds(&ArtifactKey::Symbols { elf_sha256 }, held.facts.elf).await?)
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
        if !self.ports.reads.holds(&symbols, bundle.facts().elf).await? {
            let elf = ArtifactBody::File(bundle.artifact(ArtifactName::Elf).clone());
            self.ports.store.put(&symbols, &elf).await?;
        }
        for artifact in ArtifactName::ALL {
            let key = match objects {
                PublishedObjects::Staged => {
                    ArtifactKey::Staging { upload: upload.clone(), artifact }
                }
                PublishedObjects::InPlace | PublishedObjects::Unchanged => {
                    firmware_key(&request.model, bundle.version(), artifact)
                }
            };
            let body = ArtifactBody::File(bundle.artifact(artifact).clone());
            self.ports.store.put(&key, &body).await?;
        }
        Ok(())
    }

    /// The commit has decided the outcome: what goes wrong from here on is finished by
    /// [`Firmware::settle_interrupted`].
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
        if let Err(error) = self.lease(upload).keep(self.settle(&version)).await {
            tracing::warn!(
                key = %version.key(ArtifactName::Bin),
                error = &error as &dyn std::error::Error,
                "replaced set is served from staging until the store works again"
            );
        }
    }

    /// Copies a staged set to its deterministic keys, checks it there and takes the mark away;
    /// `false` when the row holds another set by now.
    async fn settle(&self, version: &FirmwareVersion) -> Result<bool, PublishFirmwareError> {
        let Some(staging) = &version.staging else { return Ok(false) };
        for artifact in ArtifactName::ALL {
            let to = version.settled_key(artifact);
            self.ports.store.copy(&version.key(artifact), &to).await?;
            if !self.ports.reads.holds(&to, version.facts.of(artifact)).await? {
                let error = "copy is not the object it was made from";
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

fn firmware_key(model: &ModelCode, version: &VersionText, artifact: ArtifactName) -> ArtifactKey {
    ArtifactKey::Firmware { model: model.clone(), version: version.clone(), artifact }
}
