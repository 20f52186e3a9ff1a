//! The versions a server holds: looking, reading, activating, deleting.

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
use crate::ids::DeviceKey;
use crate::ids::ModelCode;
use crate::ids::VersionText;
use crate::wakeup::{Wakeup, Worker};

/// How often a read starts over because the row changed under it.
const LOOKS: u32 = 5;

/// The limits firmware is kept under.
#[derive(Debug, Clone, Copy)]
pub struct FirmwareSettings {
    /// Versions kept of a model (`MAX_FIRMWARES`).
    pub kept_versions: u32,
    /// Bytes of images kept in memory.
    pub image_cache_bytes: u64,
}

/// What the use cases of firmware work with.
pub struct FirmwarePorts {
    pub versions: Arc<dyn FirmwareRepository>,
    pub publications: Arc<dyn PublicationRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub reads: VerifiedReads,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// Firmware delivery: publishing, retention, downloads.
#[derive(Clone)]
pub struct Firmware {
    pub(super) ports: Arc<FirmwarePorts>,
    pub(super) settings: FirmwareSettings,
    images: ImageCache,
}

/// Whose firmware is to be read.
#[derive(Debug, Clone, Copy)]
pub enum FirmwareOf<'a> {
    /// The current version, as offered to a device.
    Device(&'a DeviceKey),
    /// The current version of a model.
    Model(i64),
    /// One version of a model.
    Version(i64, &'a VersionText),
}

/// An artifact ready to be sent.
pub struct ReadArtifact {
    /// The row it belongs to, as it was when the object was opened.
    pub version: Arc<FirmwareVersion>,
    /// The bytes of the planned range; `None` when the plan needed none.
    pub body: Option<ArtifactBytes>,
}

/// Why firmware could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFirmwareError {
    /// There is no such device or model.
    #[error("owner does not exist")]
    UnknownOwner,
    /// There is no such version of the model.
    #[error("no such version")]
    UnknownVersion,
    /// The model has no current version.
    #[error("model {0} has no current version")]
    NoneCurrent(ModelCode),
    /// A visible row has no object: an invariant is broken (I1).
    #[error("object {} of a visible row is missing", .0.key)]
    ObjectMissing(BrokenObject),
    /// A visible row has another object than it says: an invariant is broken (I1).
    #[error("object {} is not the one its row describes", .0.key)]
    ObjectDiffers(BrokenObject),
    /// The database failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
    /// The store failed while the image was loaded for several readers.
    #[error("image could not be loaded")]
    Load(#[source] Arc<LoadImageError>),
}

/// An object that is not what a visible row says.
#[derive(Debug)]
pub struct BrokenObject {
    /// Where it should be.
    pub key: ArtifactKey,
    /// Whose it is.
    pub model: ModelCode,
}

impl BrokenObject {
    fn of(version: &FirmwareVersion, artifact: ArtifactName) -> Self {
        Self { key: version.key(artifact), model: version.model.clone() }
    }
}

/// Why an image could not be brought into memory.
#[derive(Debug, thiserror::Error)]
pub enum LoadImageError {
    /// There is no such object.
    #[error("object is missing")]
    Missing,
    /// There is another object.
    #[error("object is not the one its row describes")]
    Different,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

/// How opening the bytes of a row ended, when the store answered.
enum Look {
    Bytes(ArtifactBytes),
    Missing,
    Different,
}

impl Firmware {
    pub fn new(ports: FirmwarePorts, settings: FirmwareSettings) -> Self {
        let images = ImageCache::new(settings.image_cache_bytes);
        Self { ports: Arc::new(ports), settings, images }
    }

    /// How often broken transfers were taken up again.
    pub fn resumes(&self) -> &ResumeCounts {
        self.ports.reads.resumes()
    }

    /// What is offered to a device; `None` when there is no such device.
    pub async fn offered_to(
        &self,
        device: &DeviceKey,
    ) -> Result<Option<OfferedFirmware>, RepositoryError> {
        self.ports.versions.offered_to(device).await
    }

    /// The versions of a model, newest first; `None` when there is no such model.
    pub async fn list(&self, model_id: i64) -> Result<Option<Vec<ListedVersion>>, RepositoryError> {
        self.ports.versions.list(model_id, self.ports.clock.now()).await
    }

    /// Makes a held version current; `None` when there is no such version.
    pub async fn activate(
        &self,
        model_id: i64,
        version: &VersionText,
        origin: Origin,
    ) -> Result<Option<Activation>, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        self.ports.versions.activate(model_id, version, &change).await
    }

    /// Deletes a version that is neither current nor needed; its objects follow.
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

    /// Opens an artifact for reading. `plan` says which bytes are wanted once the row is known, and
    /// may want none; the object is open, and is the one the row describes, when this returns.
    ///
    /// A row replaced between the look at it and the look at its object is simply looked at again,
    /// so that an answer is wholly old or wholly new (contract §5.8).
    pub async fn read(
        &self,
        of: FirmwareOf<'_>,
        artifact: ArtifactName,
        plan: &dyn Fn(&FirmwareVersion) -> Option<Range<u64>>,
    ) -> Result<ReadArtifact, ReadFirmwareError> {
        let mut version = self.row_of(of).await?;
        for _ in 1..LOOKS {
            let Some(range) = plan(&version) else {
                return Ok(ReadArtifact { version, body: None });
            };
            let look = self.open(&version, artifact, range).await?;
            if let Look::Bytes(body) = look {
                return Ok(ReadArtifact { version, body: Some(body) });
            }
            let newest = self.row_of(of).await?;
            if newest == version {
                return Err(broken(&version, artifact, &look));
            }
            version = newest;
        }
        Err(ReadFirmwareError::ObjectDiffers(BrokenObject::of(&version, artifact)))
    }

    async fn row_of(&self, of: FirmwareOf<'_>) -> Result<Arc<FirmwareVersion>, ReadFirmwareError> {
        let offered = match of {
            FirmwareOf::Device(key) => self.ports.versions.offered_to(key).await?,
            FirmwareOf::Model(id) => self.ports.versions.offered_by(id).await?,
            FirmwareOf::Version(id, version) => {
                let found = self.ports.versions.find(id, version).await?;
                return found.map(Arc::new).ok_or(ReadFirmwareError::UnknownVersion);
            }
        };
        let offered = offered.ok_or(ReadFirmwareError::UnknownOwner)?;
        offered.version.ok_or(ReadFirmwareError::NoneCurrent(offered.model))
    }

    async fn open(
        &self,
        version: &FirmwareVersion,
        artifact: ArtifactName,
        range: Range<u64>,
    ) -> Result<Look, ReadFirmwareError> {
        let facts = version.facts.of(artifact);
        let key = version.key(artifact);
        if artifact == ArtifactName::Bin && self.images.takes(facts.size) {
            let loaded = self.images.get_or_load(facts.sha256, self.load(&key, facts)).await;
            return match loaded {
                Ok(image) => Ok(Look::Bytes(pieces(&image, range))),
                Err(error) => match *error {
                    LoadImageError::Missing => Ok(Look::Missing),
                    LoadImageError::Different => Ok(Look::Different),
                    LoadImageError::Store(_) => Err(ReadFirmwareError::Load(error)),
                },
            };
        }
        Ok(match self.ports.reads.open(&key, facts, range).await? {
            OpenedObject::Bytes(bytes) => Look::Bytes(bytes),
            OpenedObject::Missing => Look::Missing,
            OpenedObject::Different => Look::Different,
        })
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

fn broken(version: &FirmwareVersion, artifact: ArtifactName, look: &Look) -> ReadFirmwareError {
    let object = BrokenObject::of(version, artifact);
    match look {
        Look::Missing => ReadFirmwareError::ObjectMissing(object),
        Look::Different | Look::Bytes(_) => ReadFirmwareError::ObjectDiffers(object),
    }
}
