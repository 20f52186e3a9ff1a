//! Garbage collection: removes objects to which no row refers (I6).
//!
//! Only a store with the owner mark of this installation is swept. Mark and database contain the
//! same epoch. If one of them was restored from a backup the epochs differ; then the first sweep
//! only reports, and writes a new epoch to both.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::{ArtifactKey, ArtifactPrefix};
use crate::artifacts::store::{ListedObject, read_all};
use crate::ids::LeaseOwner;
use crate::upkeep::sweep_repository::{RetentionRules, Retired, StoreOwnership};
use crate::upkeep::{Upkeep, UpkeepError};
use crate::wakeup::Worker;

/// A run that found more garbage than this needs a confirmation.
const MAX_REMOVED: usize = 1000;
/// A run in which garbage is a larger share of the listed objects needs a confirmation, too.
const MAX_REMOVED_PERCENT: usize = 10;
const LOOKUP_BATCH: usize = 500;
/// After this time without a renewal another process may sweep.
const SWEEP_LEASE: Duration = Duration::from_mins(5);
const MAX_MARK_BYTES: u64 = 4096;

/// The limits of the sweep and of the retention it applies.
#[derive(Debug, Clone, Copy)]
pub struct SweepSettings {
    /// Younger objects are never removed (`SWEEP_GRACE_SECONDS`).
    pub grace: Duration,
    /// Retention keeps this many versions of a model (`MAX_FIRMWARES`).
    pub max_versions: u32,
    /// Retention keeps symbol files for this time after their last version (`SYMBOLS_KEEP_DAYS`).
    pub symbol_retention: Duration,
}

/// What a sweep may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepMode {
    /// Report only.
    DryRun,
    /// Remove garbage within the limits.
    Run,
    /// An operator has read the report: adopt the store, or remove garbage beyond the limits.
    Confirmed,
}

/// What a sweep decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepVerdict {
    /// The deletion of the garbage was queued.
    Removed,
    /// The mode is a dry run.
    DryRun,
    /// The store contains objects and no owner mark, or the mark of another installation.
    Foreign {
        /// The installation id in the mark.
        owner: Option<String>,
    },
    /// The store was adopted; the next run only reports.
    Adopted,
    /// The first run after adoption, restore or change of store: it only reports.
    FirstRun,
    /// There is too much garbage to remove it without a confirmation.
    TooMuch,
    /// Another process sweeps.
    Busy,
}

/// What a sweep found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepReport {
    pub verdict: SweepVerdict,
    /// Listed objects.
    pub seen: usize,
    /// Old objects whose names are not keys; they are never removed.
    pub unknown: usize,
    /// Bytes of all listed objects per prefix.
    pub stored_bytes: BTreeMap<ArtifactPrefix, u64>,
    /// Garbage objects per prefix.
    pub garbage: BTreeMap<ArtifactPrefix, usize>,
    /// Objects per prefix whose deletion was queued.
    pub removed: BTreeMap<ArtifactPrefix, usize>,
    /// What retention deleted.
    pub retired: Retired,
}

impl SweepReport {
    fn busy() -> Self {
        Self {
            verdict: SweepVerdict::Busy,
            seen: 0,
            unknown: 0,
            stored_bytes: BTreeMap::new(),
            garbage: BTreeMap::new(),
            removed: BTreeMap::new(),
            retired: Retired::default(),
        }
    }

    /// Garbage objects of all prefixes.
    pub fn garbage_objects(&self) -> usize {
        self.garbage.values().sum()
    }
}

/// The content of `coredock/owner`: the installation id on the first line, the epoch on the second.
struct OwnerMark {
    installation_id: String,
    epoch: u64,
}

impl OwnerMark {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let installation_id = lines.next().unwrap_or_default().trim().to_owned();
        let epoch = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
        Self { installation_id, epoch }
    }

    fn body(installation_id: &str, epoch: u64) -> ArtifactBody {
        Bytes::from(format!("{installation_id}\n{epoch}\n")).into()
    }
}

/// The owner mark of the store, compared with the database.
enum MarkState {
    /// Installation id and epoch are those of the database: the store may be swept.
    Armed,
    /// The epochs differ, or the sweep was never armed.
    FirstRun,
    Foreign {
        owner: Option<String>,
    },
}

#[derive(Default)]
struct Findings {
    seen: usize,
    unknown: usize,
    stored_bytes: BTreeMap<ArtifactPrefix, u64>,
    garbage: Vec<Garbage>,
}

struct Garbage {
    prefix: ArtifactPrefix,
    key: ArtifactKey,
}

fn decide(mode: SweepMode, mark: MarkState, findings: &Findings) -> SweepVerdict {
    let too_much = findings.garbage.len() > MAX_REMOVED
        || findings.garbage.len() * 100 > findings.seen * MAX_REMOVED_PERCENT;
    match (mode, mark) {
        (SweepMode::DryRun, _) => SweepVerdict::DryRun,
        (SweepMode::Confirmed, MarkState::Foreign { .. }) => SweepVerdict::Adopted,
        (SweepMode::Run, MarkState::Foreign { owner }) => SweepVerdict::Foreign { owner },
        (SweepMode::Run | SweepMode::Confirmed, MarkState::FirstRun) => SweepVerdict::FirstRun,
        (SweepMode::Run, MarkState::Armed) if too_much => SweepVerdict::TooMuch,
        (SweepMode::Run | SweepMode::Confirmed, MarkState::Armed) => SweepVerdict::Removed,
    }
}

impl Upkeep {
    /// Writes the owner mark of this installation to an empty store. Does nothing if the store
    /// contains objects or a mark.
    pub async fn claim_empty_store(&self) -> Result<(), UpkeepError> {
        if self.read_mark().await?.is_some() || !self.store_is_empty().await? {
            return Ok(());
        }
        let ownership = self.ports.sweep.ownership().await?;
        self.write_mark(&ownership).await
    }

    /// Applies retention, then finds garbage and, if `mode` and the owner mark allow it, queues its
    /// deletion.
    pub async fn sweep(&self, mode: SweepMode) -> Result<SweepReport, UpkeepError> {
        if mode == SweepMode::DryRun {
            return self.sweep_alone(mode, None).await;
        }
        // Two sweeps at once would both raise the epoch, and take each other for a restored backup.
        let owner = LeaseOwner::random(&*self.ports.entropy);
        if !self.hold_lease(&owner).await? {
            return Ok(SweepReport::busy());
        }
        let report = self.sweep_alone(mode, Some(&owner)).await;
        self.ports.sweep.release(&owner).await?;
        report
    }

    /// Takes or renews the lease; `false` when another process holds it.
    async fn hold_lease(&self, owner: &LeaseOwner) -> Result<bool, UpkeepError> {
        let now = self.ports.clock.now();
        Ok(self.ports.sweep.hold(owner, now, now.after(SWEEP_LEASE)).await?)
    }

    async fn sweep_alone(
        &self,
        mode: SweepMode,
        owner: Option<&LeaseOwner>,
    ) -> Result<SweepReport, UpkeepError> {
        let ownership = self.ports.sweep.ownership().await?;
        let mark = self.mark_state(&ownership).await?;
        let retired = match (mode, &mark) {
            (SweepMode::DryRun, _) | (_, MarkState::Foreign { .. } | MarkState::FirstRun) => {
                Retired::default()
            }
            (SweepMode::Run | SweepMode::Confirmed, MarkState::Armed) => {
                self.ports.sweep.apply_retention(self.retention_rules()).await?
            }
        };
        let Some(findings) = self.find_garbage(owner).await? else {
            return Ok(SweepReport::busy());
        };
        let mut report = SweepReport {
            verdict: SweepVerdict::DryRun,
            seen: findings.seen,
            unknown: findings.unknown,
            stored_bytes: findings.stored_bytes.clone(),
            garbage: count(findings.garbage.iter().map(|garbage| garbage.prefix)),
            removed: BTreeMap::new(),
            retired,
        };
        report.verdict = decide(mode, mark, &findings);
        match report.verdict {
            SweepVerdict::Adopted => self.adopt(&ownership).await?,
            SweepVerdict::FirstRun => self.write_mark(&ownership).await?,
            SweepVerdict::Removed => {
                self.write_mark(&ownership).await?;
                report.removed = self.remove(&findings.garbage).await?;
            }
            SweepVerdict::DryRun
            | SweepVerdict::Foreign { .. }
            | SweepVerdict::TooMuch
            | SweepVerdict::Busy => {}
        }
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(report)
    }

    async fn mark_state(&self, ownership: &StoreOwnership) -> Result<MarkState, UpkeepError> {
        Ok(match self.read_mark().await? {
            None => MarkState::Foreign { owner: None },
            Some(mark) if mark.installation_id != ownership.installation_id => {
                MarkState::Foreign { owner: Some(mark.installation_id) }
            }
            Some(mark) if mark.epoch == 0 || mark.epoch != ownership.epoch => MarkState::FirstRun,
            Some(_) => MarkState::Armed,
        })
    }

    async fn read_mark(&self) -> Result<Option<OwnerMark>, UpkeepError> {
        let bytes = read_all(&*self.ports.store, &ArtifactKey::Owner, MAX_MARK_BYTES).await?;
        Ok(bytes.map(|bytes| OwnerMark::parse(&bytes)))
    }

    /// Raises the epoch in the database, then in the store: after a crash between the two the next
    /// run only reports.
    async fn write_mark(&self, ownership: &StoreOwnership) -> Result<(), UpkeepError> {
        let epoch = ownership.epoch + 1;
        self.ports.sweep.arm(epoch, self.ports.clock.now()).await?;
        let body = OwnerMark::body(&ownership.installation_id, epoch);
        self.ports.store.put(&ArtifactKey::Owner, &body).await?;
        Ok(())
    }

    /// Writes the mark with epoch 0, which no armed database has: the next run only reports.
    async fn adopt(&self, ownership: &StoreOwnership) -> Result<(), UpkeepError> {
        let body = OwnerMark::body(&ownership.installation_id, 0);
        self.ports.store.put(&ArtifactKey::Owner, &body).await?;
        Ok(())
    }

    async fn store_is_empty(&self) -> Result<bool, UpkeepError> {
        for prefix in ArtifactPrefix::ALL {
            if self.ports.store.list(prefix).try_next().await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` when the lease was lost meanwhile.
    async fn find_garbage(
        &self,
        owner: Option<&LeaseOwner>,
    ) -> Result<Option<Findings>, UpkeepError> {
        let now = self.ports.clock.now();
        let grace_begin = now.before(self.settings.grace);
        let mut findings = Findings::default();
        for prefix in ArtifactPrefix::ALL {
            let stored_bytes = findings.stored_bytes.entry(prefix).or_default();
            let mut objects = self.ports.store.list(prefix).try_chunks(LOOKUP_BATCH);
            while let Some(batch) = objects.try_next().await.map_err(|error| error.1)? {
                findings.seen += batch.len();
                *stored_bytes += batch.iter().map(|object| object.size).sum::<u64>();
                let is_old = |object: &&ListedObject| object.modified < grace_begin;
                let (keys, unknown) = known_keys(batch.iter().filter(is_old));
                findings.unknown += unknown;
                let garbage = self.ports.sweep.unreferenced(&keys, now).await?;
                findings.garbage.extend(garbage.into_iter().map(|key| Garbage { prefix, key }));
                if let Some(owner) = owner
                    && !self.hold_lease(owner).await?
                {
                    return Ok(None);
                }
            }
        }
        Ok(Some(findings))
    }

    async fn remove(
        &self,
        garbage: &[Garbage],
    ) -> Result<BTreeMap<ArtifactPrefix, usize>, UpkeepError> {
        let mut removed = BTreeMap::new();
        for prefix in ArtifactPrefix::ALL {
            let keys: Vec<ArtifactKey> = garbage
                .iter()
                .filter(|garbage| garbage.prefix == prefix)
                .map(|garbage| garbage.key.clone())
                .collect();
            for batch in keys.chunks(LOOKUP_BATCH) {
                let queued = self.ports.sweep.queue_garbage(batch, self.ports.clock.now()).await?;
                *removed.entry(prefix).or_default() += usize::try_from(queued).unwrap_or(0);
            }
        }
        Ok(removed)
    }

    fn retention_rules(&self) -> RetentionRules {
        RetentionRules {
            now: self.ports.clock.now(),
            max_versions: self.settings.max_versions,
            symbol_retention: self.settings.symbol_retention,
        }
    }
}

/// The keys of the listed objects, and how many objects have a name that is not a key.
fn known_keys<'a>(objects: impl Iterator<Item = &'a ListedObject>) -> (Vec<ArtifactKey>, usize) {
    let mut keys = Vec::new();
    let mut unknown = 0;
    for object in objects {
        match object.path.parse() {
            Ok(key) => keys.push(key),
            Err(_) => unknown += 1,
        }
    }
    (keys, unknown)
}

fn count(prefixes: impl Iterator<Item = ArtifactPrefix>) -> BTreeMap<ArtifactPrefix, usize> {
    let mut counts = BTreeMap::new();
    for prefix in prefixes {
        *counts.entry(prefix).or_default() += 1;
    }
    counts
}
