//! The use cases of stored versions: listing, downloading, activating, deleting.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::artifacts::key::{ArtifactKey, ArtifactName};
use crate::artifacts::store::{ArtifactFacts, ArtifactStore, ArtifactStoreError};
use crate::artifacts::verified_reads::{ArtifactBytes, OpenedObject, ResumeCounts, VerifiedReads};
use crate::audit::{Change, Origin};
use crate::clock::{Clock, Entropy};
use crate::error::RepositoryError;
use crate::firmware::FirmwareVersion;
use crate::firmware::image_cache::{ImageCache, pieces};
use crate::firmware::publication::PublicationRepository;
use crate::firmware::repository::FirmwareRepository;
use crate::firmware::repository::{Activation, ListedVersion, OfferedFirmware, VersionDeletion};
use crate::identity::device::{ClaimError, DeviceClaim, ForeignModel};
use crate::ids::{ModelCode, VersionText};
use crate::wakeup::{Wakeup, Worker};

/// How often a read is tried when the row changes between reading it and opening its object.
const MAX_READ_ATTEMPTS: u32 = 5;

#[derive(Debug, Clone, Copy)]
pub struct FirmwareSettings {
    /// Retention keeps this many versions of a model (`MAX_FIRMWARES`).
    pub max_versions: u32,
    pub image_cache_bytes: u64,
}

pub struct FirmwarePorts {
    pub versions: Arc<dyn FirmwareRepository>,
    pub publications: Arc<dyn PublicationRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub reads: VerifiedReads,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The use cases of firmware: publishing, retention, downloads.
#[derive(Clone)]
pub struct Firmware {
    pub(super) ports: Arc<FirmwarePorts>,
    pub(super) settings: FirmwareSettings,
    images: ImageCache,
}

/// Which firmware is to be read.
#[derive(Debug, Clone, Copy)]
pub enum FirmwareOf<'a> {
    /// The version offered to this device.
    Device(&'a DeviceClaim),
    /// The current version of the model of this id.
    Model(i64),
    /// This version of the model of this id.
    Version(i64, &'a VersionText),
}

/// An artifact ready to be sent.
pub struct ReadArtifact {
    /// The row of the artifact, as it was when the object was opened.
    pub version: Arc<FirmwareVersion>,
    /// The bytes of the planned range; `None` when the plan asked for none.
    pub body: Option<ArtifactBytes>,
}

/// Why firmware could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFirmwareError {
    #[error("device or model does not exist")]
    UnknownDeviceOrModel,
    #[error(transparent)]
    ForeignModel(#[from] ForeignModel),
    #[error("version does not exist")]
    UnknownVersion,
    #[error("model {0} has no current version")]
    NoneCurrent(ModelCode),
    /// A visible row has no object: an invariant is broken (I1).
    #[error("object {} is in the database, but not in the artifact store", .0.key)]
    ObjectMissing(BrokenObject),
    /// A visible row describes another object: an invariant is broken (I1).
    #[error("object {} is not the one that was stored: its length or SHA-256 differs from the database", .0.key)]
    ObjectDiffers(BrokenObject),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
    /// The store failed while the image was loaded for several requests.
    #[error("the firmware image could not be read from the artifact store")]
    Load(#[source] Arc<LoadImageError>),
}

/// An object that is not the one which a visible row describes.
#[derive(Debug)]
pub struct BrokenObject {
    pub key: ArtifactKey,
    pub model: ModelCode,
}

impl BrokenObject {
    fn of(version: &FirmwareVersion, artifact: ArtifactName) -> Self {
        Self { key: version.key(artifact), model: version.model.clone() }
    }
}

/// Why an image could not be loaded into memory.
#[derive(Debug, thiserror::Error)]
pub enum LoadImageError {
    #[error("the object of the image is missing")]
    Missing,
    #[error("the object of the image is not the one that was stored")]
    Different,
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

impl Firmware {
    pub fn new(ports: FirmwarePorts, settings: FirmwareSettings) -> Self {
        let images = ImageCache::new(settings.image_cache_bytes);
        Self { ports: Arc::new(ports), settings, images }
    }

    /// How many interrupted transfers were resumed, and how many were not.
    pub fn resumes(&self) -> &ResumeCounts {
        self.ports.reads.resumes()
    }

    /// The offer for a device.
    pub async fn offered_to(&self, device: &DeviceClaim) -> Result<OfferedFirmware, ClaimError> {
        let offered = self.ports.versions.offered_to(&device.key).await?;
        let offered = offered.ok_or(ClaimError::UnknownDevice)?;
        device.check(&offered.model)?;
        Ok(offered)
    }

    /// The versions of a model, newest first; `None` when the model does not exist.
    pub async fn list(&self, model_id: i64) -> Result<Option<Vec<ListedVersion>>, RepositoryError> {
        self.ports.versions.list(model_id, self.ports.clock.now()).await
    }

    /// Makes a version current; `None` when it does not exist.
    pub async fn activate(
        &self,
        model_id: i64,
        version: &VersionText,
        origin: Origin,
    ) -> Result<Option<Activation>, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        self.ports.versions.activate(model_id, version, &change).await
    }

    /// Deletes a version that is neither current nor needed by a dump; the outbox deletes its
    /// objects.
    pub async fn delete(
        &self,
        model_id: i64,
        version: &VersionText,
        origin: Origin,
    ) -> Result<VersionDeletion, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let deletion = self.ports.versions.delete(model_id, version, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(deletion)
    }

    /// Opens an artifact. `plan` chooses the range of bytes once the row is known, or `None` to
    /// open nothing. When this returns, the object is open and its length and SHA-256 are those of
    /// the row.
    ///
    /// If the row is replaced between reading it and opening its object, it is read again, so that
    /// an answer is entirely of the old set or entirely of the new one (contract §5.8).
    pub async fn read(
        &self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
        plan: &dyn Fn(&FirmwareVersion) -> Option<Range<u64>>,
    ) -> Result<ReadArtifact, ReadFirmwareError> {
        let mut version = self.row_of(of).await?;
        for _ in 1..MAX_READ_ATTEMPTS {
            let Some(range) = plan(&version) else {
                return Ok(ReadArtifact { version, body: None });
            };
            let opened = self.open(&version, artifact, range).await?;
            if let OpenedObject::Bytes(body) = opened {
                return Ok(ReadArtifact { version, body: Some(body) });
            }
            let newest = self.row_of(of).await?;
            if newest == version {
                return Err(broken(&version, artifact, &opened));
            }
            version = newest;
        }
        Err(ReadFirmwareError::ObjectDiffers(BrokenObject::of(&version, artifact)))
    }

    async fn row_of(&self, of: FirmwareOf<'_>) -> Result<Arc<FirmwareVersion>, ReadFirmwareError> {
        let offered = match of {
            FirmwareOf::Device(device) => return self.offered_image(device).await,
            FirmwareOf::Model(id) => self.ports.versions.offered_by(id).await?,
            FirmwareOf::Version(id, version) => {
                let found = self.ports.versions.find(id, version).await?;
                return found.map(Arc::new).ok_or(ReadFirmwareError::UnknownVersion);
            }
        };
        current_of(offered.ok_or(ReadFirmwareError::UnknownDeviceOrModel)?)
    }

    async fn offered_image(
        &self,
        device: &DeviceClaim,
    ) -> Result<Arc<FirmwareVersion>, ReadFirmwareError> {
        let offered = self.offered_to(device).await.map_err(|error| match error {
            ClaimError::UnknownDevice => ReadFirmwareError::UnknownDeviceOrModel,
            ClaimError::ForeignModel(error) => error.into(),
            ClaimError::Repository(error) => error.into(),
        })?;
        current_of(offered)
    }

    async fn open(
        &self,
        version: &FirmwareVersion,
        artifact: ArtifactName,
        range: Range<u64>,
    ) -> Result<OpenedObject, ReadFirmwareError> {
        let facts = version.facts.of(artifact);
        let key = version.key(artifact);
        if artifact == ArtifactName::Bin && self.images.accepts(facts.size) {
            let loaded = self.images.get_or_load(facts.sha256, self.load(&key, facts)).await;
            return match loaded {
                Ok(image) => Ok(OpenedObject::Bytes(pieces(&image, range))),
                Err(error) => match *error {
                    LoadImageError::Missing => Ok(OpenedObject::Missing),
                    LoadImageError::Different => Ok(OpenedObject::Different),
                    LoadImageError::Store(_) => Err(ReadFirmwareError::Load(error)),
                },
            };
        }
        Ok(self.ports.reads.open(&key, facts, range).await?)
    }

    async fn load(&self, key: &ArtifactKey, facts: ArtifactFacts) -> Result<Bytes, LoadImageError> {
        match self.ports.reads.open(key, facts, 0..facts.size).await? {
            OpenedObject::Missing => Err(LoadImageError::Missing),
            OpenedObject::Different => Err(LoadImageError::Different),
            OpenedObject::Bytes(bytes) => {
                let image = Vec::with_capacity(usize::try_from(facts.size).unwrap_or_default());
                let append = |mut image: Vec<u8>, piece: Bytes| async move {
                    image.extend_from_slice(&piece);
                    Ok(image)
                };
                match bytes.try_fold(image, append).await {
                    Ok(image) => Ok(Bytes::from(image)),
                    Err(ArtifactStoreError::Damaged { .. }) => Err(LoadImageError::Different),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

fn current_of(offered: OfferedFirmware) -> Result<Arc<FirmwareVersion>, ReadFirmwareError> {
    offered.version.ok_or(ReadFirmwareError::NoneCurrent(offered.model))
}

fn broken(
    version: &FirmwareVersion,
    artifact: ArtifactName,
    opened: &OpenedObject,
) -> ReadFirmwareError {
    let object = BrokenObject::of(version, artifact);
    match opened {
        OpenedObject::Missing => ReadFirmwareError::ObjectMissing(object),
        OpenedObject::Different | OpenedObject::Bytes(_) => {
            ReadFirmwareError::ObjectDiffers(object)
        }
    }
}
