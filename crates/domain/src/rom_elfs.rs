//! The use cases of ROM ELFs (contract §8.2). As with firmware, the object is written before the
//! row.

pub mod repository;
pub mod rom_elf;

use std::sync::Arc;

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactStore, ArtifactStoreError};
use crate::audit::{Change, Origin};
use crate::clock::{Clock, Entropy};
use crate::error::RepositoryError;
use crate::firmware::publication::PublicationRepository;
use crate::firmware::upload_lease::{LEASE, LeaseBackoff, LeaseLost, UploadLease};
use crate::ids::UploadId;
use crate::rom_elfs::repository::RomElfRepository;
use crate::rom_elfs::repository::{BeginRomElf, RecordRomElf, RomElfStart};
use crate::rom_elfs::rom_elf::{CheckedRomElf, RomElf, RomElfName};
use crate::wakeup::{Wakeup, Worker};

/// How often an upload is tried when it loses its lease.
const MAX_ATTEMPTS: u32 = 5;

pub struct RomElfPorts {
    pub rom_elfs: Arc<dyn RomElfRepository>,
    /// The leases of uploads.
    pub leases: Arc<dyn PublicationRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The use cases of ROM ELFs.
#[derive(Clone)]
pub struct RomElfs {
    ports: Arc<RomElfPorts>,
}

/// A ROM ELF to be stored.
#[derive(Debug, Clone)]
pub struct UploadRomElf {
    pub name: RomElfName,
    pub file: CheckedRomElf,
    pub origin: Origin,
}

/// Why a ROM ELF was not stored.
#[derive(Debug, thiserror::Error)]
pub enum UploadRomElfError {
    #[error("ROM ELF {}, {} of the {}, has the same SHA-256", .0.id, .0.name, .0.chip)]
    Exists(Box<RomElf>),
    /// Another upload of the same bytes, or their deletion, did not end in time.
    #[error("another upload or the deletion of the ELF is under way")]
    Busy,
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

impl RomElfs {
    pub fn new(ports: RomElfPorts) -> Self {
        Self { ports: Arc::new(ports) }
    }

    /// All ROM ELFs, by chip and name.
    pub async fn list(&self) -> Result<Vec<RomElf>, RepositoryError> {
        self.ports.rom_elfs.list().await
    }

    /// Stores a ROM ELF. When this returns `Ok`, the object is durable and the row is committed
    /// (I2); when it returns an error, nothing visible has changed (I3).
    pub async fn upload(&self, request: UploadRomElf) -> Result<RomElf, UploadRomElfError> {
        for _ in 1..MAX_ATTEMPTS {
            match self.try_upload(&request).await {
                Err(UploadRomElfError::LeaseLost(_)) => {}
                outcome => return outcome,
            }
        }
        self.try_upload(&request).await
    }

    /// Deletes a ROM ELF, whose object the outbox deletes; `false` when it does not exist.
    pub async fn delete(&self, id: i64, origin: Origin) -> Result<bool, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let deleted = self.ports.rom_elfs.delete(id, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(deleted)
    }

    async fn try_upload(&self, request: &UploadRomElf) -> Result<RomElf, UploadRomElfError> {
        let upload = UploadId::random(&*self.ports.entropy);
        self.begin(&upload, request).await?;
        let RomElfPorts { leases, clock, .. } = &*self.ports;
        let lease = UploadLease { leases: &**leases, clock: &**clock, upload: &upload };
        let outcome = match lease.renew_during(self.put(request)).await {
            Ok(()) => self.record(&upload, request).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            lease.release().await;
        }
        outcome
    }

    /// Waits for the lease; while it is held, no other upload or delete touches the object.
    async fn begin(
        &self,
        upload: &UploadId,
        request: &UploadRomElf,
    ) -> Result<(), UploadRomElfError> {
        let mut backoff = LeaseBackoff::new(&*self.ports.clock);
        loop {
            let now = self.ports.clock.now();
            let start = self.ports.rom_elfs.begin(BeginRomElf {
                upload: upload.clone(),
                sha256: request.file.facts().sha256,
                now,
                until: now.after(LEASE),
            });
            match start.await? {
                RomElfStart::Granted => return Ok(()),
                RomElfStart::Exists(existing) => return Err(UploadRomElfError::Exists(existing)),
                RomElfStart::Busy if backoff.wait(now).await => {}
                RomElfStart::Busy => return Err(UploadRomElfError::Busy),
            }
        }
    }

    async fn put(&self, request: &UploadRomElf) -> Result<(), UploadRomElfError> {
        let key = ArtifactKey::RomElf { sha256: request.file.facts().sha256 };
        let body = ArtifactBody::File(request.file.file().clone());
        self.ports.store.put(&key, &body).await?;
        Ok(())
    }

    async fn record(
        &self,
        upload: &UploadId,
        request: &UploadRomElf,
    ) -> Result<RomElf, UploadRomElfError> {
        let row = RecordRomElf {
            upload: upload.clone(),
            chip: request.file.chip(),
            name: request.name.clone(),
            facts: request.file.facts(),
        };
        let change = Change::now(&*self.ports.clock, request.origin.clone());
        let recorded = self.ports.rom_elfs.record(row, &change).await?;
        recorded.ok_or_else(|| LeaseLost.into())
    }
}
