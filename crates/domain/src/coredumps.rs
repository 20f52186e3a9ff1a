//! The use cases of dumps (contract §6, §8.4, §8.5): no crash is lost.

pub mod body;
pub mod coredump;
pub mod groups;
pub mod repository;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{ArtifactFacts, ArtifactStore, ArtifactStoreError};
use crate::artifacts::verified_reads::{ArtifactBytes, OpenedObject, VerifiedReads};
use crate::audit::{Change, Origin};
use crate::clock::{Clock, Entropy};
use crate::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump};
use crate::coredumps::groups::CrashGroupRepository;
use crate::coredumps::groups::{CrashGroupFilter, CrashGroupPage, CrashGroupPlace, CrashGroups};
use crate::coredumps::repository::CoredumpRepository;
use crate::coredumps::repository::{CoredumpPage, WhichCoredumps};
use crate::error::RepositoryError;
use crate::firmware::repository::FirmwareRepository;
use crate::ids::DeviceKey;
use crate::intake::fair_queue::Turns;
use crate::intake::replay::RescueSpool;
use crate::symbolication::jobs::ParseJobRepository;
use crate::symbolication::jobs::QueueState;
use crate::symbolication::symbolizer::Symbolizer;
use crate::wakeup::Wakeup;

/// The limits dumps are kept and parsed under.
#[derive(Debug, Clone)]
pub struct CoredumpSettings {
    /// Largest body in bytes (`MAX_COREDUMP_BYTES`).
    pub largest_body: u64,
    /// Dumps kept of a device (`MAX_COREDUMPS`).
    pub kept_coredumps: u32,
    /// How long a body that comes again is the same dump; zero: never
    /// (`COREDUMP_DEDUPE_SECONDS`).
    pub same_body_for: Duration,
    /// How long a silent worker keeps a job (`PARSE_LEASE_SECONDS`).
    pub lease: Duration,
    /// Longest attempt (`PARSE_TIMEOUT_SECONDS`).
    pub longest_attempt: Duration,
    /// Attempts a job has (`PARSE_MAX_ATTEMPTS`).
    pub most_attempts: u32,
    /// Delays before the second attempt, the third, and so on; the last one goes on
    /// (`PARSE_RETRY_DELAYS`).
    pub retry_delays: Vec<Duration>,
}

/// What the use cases of dumps work with.
pub struct CoredumpPorts {
    /// Rows of dumps.
    pub coredumps: Arc<dyn CoredumpRepository>,
    /// The same rows, grouped.
    pub groups: Arc<dyn CrashGroupRepository>,
    /// The same rows as a queue.
    pub jobs: Arc<dyn ParseJobRepository>,
    /// Rows of versions.
    pub versions: Arc<dyn FirmwareRepository>,
    /// Where bytes lie.
    pub store: Arc<dyn ArtifactStore>,
    /// Reads of the same store.
    pub reads: VerifiedReads,
    /// Who makes reports; `None`: jobs wait.
    pub symbolizer: Option<Arc<dyn Symbolizer>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where dumps wait for the end of an outage.
    pub rescue: Arc<dyn RescueSpool>,
    /// Told when dumps began to wait there.
    pub rescued: Arc<dyn Wakeup>,
    /// Told when deletes were queued.
    pub outbox: Arc<dyn Wakeup>,
    /// Told when jobs became due.
    pub due: Arc<dyn Wakeup>,
}

/// Dumps.
#[derive(Clone)]
pub struct Coredumps {
    pub(crate) ports: Arc<CoredumpPorts>,
    pub(crate) settings: Arc<CoredumpSettings>,
    pub(crate) unwrapping: Arc<futures::lock::Mutex<()>>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) arriving: Arc<AtomicUsize>,
    pub(crate) pruned: Arc<AtomicU64>,
}

/// A dump ready to be sent.
pub struct ReadCoredump {
    /// The row it belongs to.
    pub coredump: Coredump,
    /// The bytes of the planned range; `None` when the plan needed none.
    pub body: Option<ArtifactBytes>,
}

/// Why a dump could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadCoredumpError {
    /// There is no such dump of the device.
    #[error("no such dump")]
    Unknown,
    /// A visible row has no object: an invariant is broken (I1).
    #[error("object {0} of a visible row is missing")]
    ObjectMissing(ArtifactKey),
    /// A visible row has another object than it says: an invariant is broken (I1).
    #[error("object {0} is not the one its row describes")]
    ObjectDiffers(ArtifactKey),
    /// The database failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
}

impl Coredumps {
    /// Builds the use cases over their ports.
    pub fn new(ports: CoredumpPorts, settings: CoredumpSettings) -> Self {
        Self {
            ports: Arc::new(ports),
            settings: Arc::new(settings),
            unwrapping: Arc::default(),
            turns: Arc::default(),
            arriving: Arc::default(),
            pruned: Arc::default(),
        }
    }

    /// The limits in force.
    pub fn settings(&self) -> &CoredumpSettings {
        &self.settings
    }

    /// Who makes reports, if anybody does.
    pub fn symbolizer(&self) -> Option<&Arc<dyn Symbolizer>> {
        self.ports.symbolizer.as_ref()
    }

    /// The dumps of a device, newest first; `None` when there is no such device.
    pub async fn list(
        &self,
        device_id: i64,
    ) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError> {
        self.ports.coredumps.list(device_id).await
    }

    /// Dumps of all devices, newest first.
    pub async fn page(&self, page: CoredumpPage) -> Result<Vec<FleetCoredump>, RepositoryError> {
        self.ports.coredumps.page(page).await
    }

    /// Dumps of all devices, grouped by their causes, newest first.
    /// `after` is where the page before ended.
    pub async fn groups(
        &self,
        filter: CrashGroupFilter,
        after: Option<CrashGroupPlace>,
        limit: u32,
    ) -> Result<CrashGroups, RepositoryError> {
        let after = after.unwrap_or_else(|| CrashGroupPlace::front(self.ports.clock.now()));
        self.ports.groups.page(CrashGroupPage { filter, after, limit }).await
    }

    /// One dump of a device.
    pub async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError> {
        self.ports.coredumps.find(device_id, id).await
    }

    /// Opens the stored body for reading; `plan` says which bytes are wanted once the row is known,
    /// and may want none.
    pub async fn read(
        &self,
        (device_id, id): (i64, i64),
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
        // Deleted between the two looks: then nothing is broken.
        match self.find(device_id, id).await? {
            Some(_) => Err(broken),
            None => Err(ReadCoredumpError::Unknown),
        }
    }

    /// Deletes dumps, whose objects follow; `None` when there is no such device or dump.
    pub async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        origin: Origin,
    ) -> Result<Option<u64>, RepositoryError> {
        let change = self.change(origin);
        let deleted = self.ports.coredumps.delete(device_id, which, &change).await?;
        self.ports.outbox.wake();
        Ok(deleted)
    }

    /// Has a dump parsed again (contract §6.12); `None` when there is no such dump.
    pub async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        origin: Origin,
    ) -> Result<Option<Coredump>, RepositoryError> {
        let dump = self.ports.jobs.reparse(device_id, id, &self.change(origin)).await?;
        self.ports.due.wake();
        Ok(dump)
    }

    /// How many dumps there are in which state.
    pub async fn queue(&self) -> Result<QueueState, RepositoryError> {
        self.ports.jobs.queue(self.ports.clock.now()).await
    }

    /// How many dumps retention deleted since the start.
    pub fn pruned(&self) -> &AtomicU64 {
        &self.pruned
    }

    pub(crate) fn change(&self, origin: Origin) -> Change {
        Change { at: self.ports.clock.now(), origin }
    }

    /// Counts and logs what retention deleted, and has its objects follow.
    pub(crate) fn note_pruned(&self, device: &DeviceKey, pruned: &[i64]) {
        if pruned.is_empty() {
            return;
        }
        self.pruned.fetch_add(pruned.len() as u64, Ordering::Relaxed);
        tracing::info!(
            event = "coredump_retention_pruned",
            %device,
            pruned = pruned.len(),
            ids = ?pruned,
            "old dumps of a device made room"
        );
        self.ports.outbox.wake();
    }
}
