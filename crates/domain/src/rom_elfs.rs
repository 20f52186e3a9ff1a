//! The use cases of ROM ELFs (contract §8.2): bytes before the row, as with firmware.

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
use crate::firmware::upload_lease::{LEASE, LeaseLost, UploadLease, Wait};
use crate::ids::UploadId;
use crate::rom_elfs::repository::RomElfRepository;
use crate::rom_elfs::repository::{BeginRomElf, RecordRomElf, RomElfStart};
use crate::rom_elfs::rom_elf::{RomElf, RomElfFile, RomElfName};
use crate::wakeup::{Wakeup, Worker};

/// How often an upload starts over because its lease was lost.
const ATTEMPTS: u32 = 5;

/// What the use cases of ROM ELFs work with.
pub struct RomElfPorts {
    pub rom_elfs: Arc<dyn RomElfRepository>,
    /// The leases of uploads.
    pub leases: Arc<dyn PublicationRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// ROM ELFs.
#[derive(Clone)]
pub struct RomElfs {
    ports: Arc<RomElfPorts>,
}

/// A ROM ELF on its way in.
#[derive(Debug, Clone)]
pub struct UploadRomElf {
    /// What it is called.
    pub name: RomElfName,
    /// The checked file.
    pub file: RomElfFile,
    /// Who asks.
    pub origin: Origin,
}

/// Why a ROM ELF was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum UploadRomElfError {
    /// The same bytes are held.
    #[error("the same ELF is held as {}, {} of the {}", .0.id, .0.name, .0.chip)]
    Held(Box<RomElf>),
    /// Another upload of the same bytes, or their deletion, did not end in time.
    #[error("another upload or the deletion of the ELF is under way")]
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

impl RomElfs {
    /// Builds the use cases over their ports.
    pub fn new(ports: RomElfPorts) -> Self {
        Self { ports: Arc::new(ports) }
    }

    /// All of them, by chip and name.
    pub async fn list(&self) -> Result<Vec<RomElf>, RepositoryError> {
        self.ports.rom_elfs.list().await
    }

    /// Takes a ROM ELF in. When it returns `Ok` the bytes are durable and the row is committed
    /// (I2); when it returns an error nothing visible has changed (I3).
    pub async fn upload(&self, request: UploadRomElf) -> Result<RomElf, UploadRomElfError> {
        for _ in 1..ATTEMPTS {
            match self.try_upload(&request).await {
                Err(UploadRomElfError::LeaseLost(_)) => {}
                outcome => return outcome,
            }
        }
        self.try_upload(&request).await
    }

    /// Deletes a ROM ELF, whose object follows; `false` when there is none.
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
        let outcome = match lease.keep(self.put(request)).await {
            Ok(()) => self.record(&upload, request).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            lease.give_back().await;
        }
        outcome
    }

    /// Waits for the lease; no other upload or delete touches the object while it is held.
    async fn begin(
        &self,
        upload: &UploadId,
        request: &UploadRomElf,
    ) -> Result<(), UploadRomElfError> {
        let mut wait = Wait::begin(&*self.ports.clock);
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
                RomElfStart::Held(held) => return Err(UploadRomElfError::Held(held)),
                RomElfStart::Busy if wait.again(now).await => {}
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
