//! Stored dumps: lists, groups, reading, deleting, parsing again (contract §8.4, §8.5).

pub mod body;
pub mod coredump;
pub mod groups;
pub mod pruned;
pub mod repository;

use std::ops::Range;
use std::sync::Arc;

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactFacts, ArtifactStoreError};
use crate::artifacts::verified_reads::{ArtifactBytes, OpenedObject, VerifiedReads};
use crate::audit::{Change, Origin};
use crate::clock::Clock;
use crate::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump};
use crate::coredumps::groups::{
    CrashGroupFilter, CrashGroupPosition, CrashGroupQuery, CrashGroups,
};
use crate::coredumps::repository::{CoredumpQuery, CoredumpRepository, WhichCoredumps};
use crate::error::RepositoryError;
use crate::wakeup::{Wakeup, Worker};

pub struct CoredumpPorts {
    pub coredumps: Arc<dyn CoredumpRepository>,
    pub reads: VerifiedReads,
    pub clock: Arc<dyn Clock>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The use cases of stored dumps.
#[derive(Clone)]
pub struct Coredumps {
    ports: Arc<CoredumpPorts>,
}

/// A dump ready to be sent.
pub struct ReadCoredump {
    pub coredump: Coredump,
    /// The bytes of the planned range; `None` when the plan asked for none.
    pub body: Option<ArtifactBytes>,
}

/// Why a dump could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadCoredumpError {
    #[error("dump does not exist")]
    Unknown,
    /// A visible row has no object: an invariant is broken (I1).
    #[error("object {0} of a visible row is missing")]
    ObjectMissing(ArtifactKey),
    /// A visible row describes another object: an invariant is broken (I1).
    #[error("expected the length and SHA-256 of its row for object {0}, found others")]
    ObjectDiffers(ArtifactKey),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

impl Coredumps {
    pub fn new(ports: CoredumpPorts) -> Self {
        Self { ports: Arc::new(ports) }
    }

    /// The dumps of a device, newest first; `None` when the device does not exist.
    pub async fn list(
        &self,
        device_id: i64,
    ) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError> {
        self.ports.coredumps.list(device_id).await
    }

    /// Dumps of all devices, newest first.
    pub async fn page(&self, page: CoredumpQuery) -> Result<Vec<FleetCoredump>, RepositoryError> {
        self.ports.coredumps.page(page).await
    }

    /// Dumps of all devices, grouped by signature, newest first. `after` is the `next` of the
    /// previous page.
    pub async fn groups(
        &self,
        filter: CrashGroupFilter,
        after: Option<CrashGroupPosition>,
        limit: u32,
    ) -> Result<CrashGroups, RepositoryError> {
        let after = after.unwrap_or_else(|| CrashGroupPosition::front(self.ports.clock.now()));
        self.ports.coredumps.groups(CrashGroupQuery { filter, after, limit }).await
    }

    /// One dump of a device.
    pub async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError> {
        self.ports.coredumps.find(device_id, id).await
    }

    /// Opens the stored body; `plan` chooses the range of bytes once the row is known, or `None` to
    /// open nothing.
    pub async fn read(
        &self,
        device_id: i64,
        id: i64,
        plan: &dyn Fn(&Coredump) -> Option<Range<u64>>,
    ) -> Result<ReadCoredump, ReadCoredumpError> {
        let found = self.find(device_id, id).await?;
        let coredump = found.ok_or(ReadCoredumpError::Unknown)?;
        let Some(range) = plan(&coredump) else {
            return Ok(ReadCoredump { coredump, body: None });
        };
        let key = ArtifactKey::Coredump { device: coredump.device.clone(), id };
        let facts = ArtifactFacts { size: coredump.summary.size, sha256: coredump.sha256 };
        let broken = match self.ports.reads.open(&key, facts, range).await? {
            OpenedObject::Bytes(body) => return Ok(ReadCoredump { coredump, body: Some(body) }),
            OpenedObject::Missing => ReadCoredumpError::ObjectMissing(key),
            OpenedObject::Different => ReadCoredumpError::ObjectDiffers(key),
        };
        // If the dump was deleted meanwhile, its object is missing rightly.
        match self.find(device_id, id).await? {
            Some(_) => Err(broken),
            None => Err(ReadCoredumpError::Unknown),
        }
    }

    /// Deletes dumps, whose objects the outbox deletes; `None` when the device or the dump does not
    /// exist.
    pub async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        origin: Origin,
    ) -> Result<Option<u64>, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let deleted = self.ports.coredumps.delete(device_id, which, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(deleted)
    }

    /// Makes a dump pending again (contract §6.12); `None` when the dump does not exist.
    pub async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        origin: Origin,
    ) -> Result<Option<Coredump>, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let dump = self.ports.coredumps.reparse(device_id, id, &change).await?;
        self.ports.wakeup.wake(Worker::Parsing);
        Ok(dump)
    }
}
