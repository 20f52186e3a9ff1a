//! Collects objects no row refers to (I6).
//!
//! Only a store that carries the mark of this installation is swept. The mark also carries a
//! counter that the database keeps too: when one of them was brought back from a backup the two
//! differ, and the sweep only reports until it has seen that once.

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

/// A run that would remove more waits for confirmation.
const MAX_REMOVED: usize = 1000;
/// As does one that would remove more than this share of what it saw.
const MAX_SHARE_PERCENT: usize = 10;
const LOOKUP_BATCH: usize = 500;
/// How long a sweep that stands still keeps others from sweeping.
const SWEEP_LEASE: Duration = Duration::from_mins(5);
const LARGEST_MARK_BYTES: u64 = 4096;

/// The limits of the sweep.
#[derive(Debug, Clone, Copy)]
pub struct SweepSettings {
    /// Younger objects are never removed (`SWEEP_GRACE_SECONDS`).
    pub grace: Duration,
    /// Versions kept of a model (`MAX_FIRMWARES`).
    pub kept_versions: u32,
    /// How long symbols outlive their last version (`SYMBOLS_KEEP_DAYS`).
    pub symbols_kept: Duration,
}

/// What a sweep may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepMode {
    /// Only look.
    DryRun,
    /// Remove within the limits.
    Run,
    /// An operator has read the report: adopt the store, or remove beyond the limits.
    Confirmed,
}

/// Why a sweep removed nothing, or that it did its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepVerdict {
    /// Garbage was queued for deletion.
    Removed,
    /// Only looked.
    DryRun,
    /// The store holds objects and no mark, or the mark of another installation.
    Foreign {
        /// Whose mark it is.
        owner: Option<String>,
    },
    /// The store was adopted; the next run only reports.
    Adopted,
    /// First run after adoption, restore or change of store: reported only.
    FirstRun,
    /// Too much garbage to be believed without a confirmation.
    TooMuch,
    /// Another process sweeps.
    Busy,
}

/// What a sweep saw and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepReport {
    /// What it came to.
    pub verdict: SweepVerdict,
    /// Objects seen.
    pub seen: usize,
    /// Objects whose names Coredock never gives; left alone.
    pub unknown: usize,
    /// Bytes of everything seen per prefix.
    pub stored_bytes: BTreeMap<ArtifactPrefix, u64>,
    /// Garbage objects per prefix.
    pub garbage: BTreeMap<ArtifactPrefix, usize>,
    /// Objects queued for deletion per prefix.
    pub removed: BTreeMap<ArtifactPrefix, usize>,
    /// What retention took away.
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

    /// Garbage objects under all prefixes.
    pub fn garbage_objects(&self) -> usize {
        self.garbage.values().sum()
    }
}

/// The content of `coredock/owner`: the installation id on the first line, the counter on the
/// second.
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

/// Whether the store may be swept.
enum Standing {
    Armed,
    FirstRun,
    Foreign { owner: Option<String> },
}

#[derive(Default)]
struct Findings {
    seen: usize,
    unknown: usize,
    stored_bytes: BTreeMap<ArtifactPrefix, u64>,
    garbage: Vec<(ArtifactPrefix, ArtifactKey)>,
}

fn decide(mode: SweepMode, standing: Standing, findings: &Findings) -> SweepVerdict {
    let too_much = findings.garbage.len() > MAX_REMOVED
        || findings.garbage.len() * 100 > findings.seen * MAX_SHARE_PERCENT;
    match (mode, standing) {
        (SweepMode::DryRun, _) => SweepVerdict::DryRun,
        (SweepMode::Confirmed, Standing::Foreign { .. }) => SweepVerdict::Adopted,
        (SweepMode::Run, Standing::Foreign { owner }) => SweepVerdict::Foreign { owner },
        (SweepMode::Run | SweepMode::Confirmed, Standing::FirstRun) => SweepVerdict::FirstRun,
        (SweepMode::Run, Standing::Armed) if too_much => SweepVerdict::TooMuch,
        (SweepMode::Run | SweepMode::Confirmed, Standing::Armed) => SweepVerdict::Removed,
    }
}

impl Upkeep {
    /// Marks an empty store as this installation's; one with objects or a mark is left as it is.
    pub async fn claim_empty_store(&self) -> Result<(), UpkeepError> {
        if self.read_mark().await?.is_some() || !self.store_is_empty().await? {
            return Ok(());
        }
        let ownership = self.ports.sweep.ownership().await?;
        self.write_mark(&ownership).await
    }

    /// Applies retention, then looks for garbage and, if `mode` and the mark allow it, queues its
    /// deletion.
    pub async fn sweep(&self, mode: SweepMode) -> Result<SweepReport, UpkeepError> {
        if mode == SweepMode::DryRun {
            return self.sweep_alone(mode, None).await;
        }
        // Two that sweep at once would count the mark on against each other.
        let owner = LeaseOwner::random(&*self.ports.entropy);
        if !self.hold(&owner).await? {
            return Ok(SweepReport::busy());
        }
        let swept = self.sweep_alone(mode, Some(&owner)).await;
        self.ports.sweep.release(&owner).await?;
        swept
    }

    /// Takes or extends the lease.
    async fn hold(&self, owner: &LeaseOwner) -> Result<bool, UpkeepError> {
        let now = self.ports.clock.now();
        Ok(self.ports.sweep.hold(owner, now, now.after(SWEEP_LEASE)).await?)
    }

    async fn sweep_alone(
        &self,
        mode: SweepMode,
        owner: Option<&LeaseOwner>,
    ) -> Result<SweepReport, UpkeepError> {
        let ownership = self.ports.sweep.ownership().await?;
        let standing = self.standing(&ownership).await?;
        let retired = match (mode, &standing) {
            (SweepMode::DryRun, _) | (_, Standing::Foreign { .. } | Standing::FirstRun) => {
                Retired::default()
            }
            (SweepMode::Run | SweepMode::Confirmed, Standing::Armed) => {
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
            garbage: count(findings.garbage.iter().map(|(prefix, _)| *prefix)),
            removed: BTreeMap::new(),
            retired,
        };
        report.verdict = decide(mode, standing, &findings);
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

    async fn standing(&self, ownership: &StoreOwnership) -> Result<Standing, UpkeepError> {
        Ok(match self.read_mark().await? {
            None => Standing::Foreign { owner: None },
            Some(mark) if mark.installation_id != ownership.installation_id => {
                Standing::Foreign { owner: Some(mark.installation_id) }
            }
            Some(mark) if mark.epoch == 0 || mark.epoch != ownership.epoch => Standing::FirstRun,
            Some(_) => Standing::Armed,
        })
    }

    async fn read_mark(&self) -> Result<Option<OwnerMark>, UpkeepError> {
        let bytes = read_all(&*self.ports.store, &ArtifactKey::Owner, LARGEST_MARK_BYTES).await?;
        Ok(bytes.map(|bytes| OwnerMark::parse(&bytes)))
    }

    /// Counts on in the database, then in the store: a crash between the two makes the next run
    /// report only, which is the safe side.
    async fn write_mark(&self, ownership: &StoreOwnership) -> Result<(), UpkeepError> {
        let epoch = ownership.epoch + 1;
        self.ports.sweep.arm(epoch, self.ports.clock.now()).await?;
        let body = OwnerMark::body(&ownership.installation_id, epoch);
        self.ports.store.put(&ArtifactKey::Owner, &body).await?;
        Ok(())
    }

    /// Takes over a store with the counter at zero, which no armed database has.
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

    /// `None` when the lease was lost on the way.
    async fn find_garbage(
        &self,
        owner: Option<&LeaseOwner>,
    ) -> Result<Option<Findings>, UpkeepError> {
        let now = self.ports.clock.now();
        let oldest_kept = now.before(self.settings.grace);
        let mut findings = Findings::default();
        for prefix in ArtifactPrefix::ALL {
            let stored_bytes = findings.stored_bytes.entry(prefix).or_default();
            let mut objects = self.ports.store.list(prefix).try_chunks(LOOKUP_BATCH);
            while let Some(batch) = objects.try_next().await.map_err(|error| error.1)? {
                findings.seen += batch.len();
                *stored_bytes += batch.iter().map(|object| object.size).sum::<u64>();
                let is_old = |object: &&ListedObject| object.modified < oldest_kept;
                let (keys, unknown) = known_keys(batch.iter().filter(is_old));
                findings.unknown += unknown;
                let garbage = self.ports.sweep.unreferenced(&keys, now).await?;
                findings.garbage.extend(garbage.into_iter().map(|key| (prefix, key)));
                if let Some(owner) = owner
                    && !self.hold(owner).await?
                {
                    return Ok(None);
                }
            }
        }
        Ok(Some(findings))
    }

    async fn remove(
        &self,
        garbage: &[(ArtifactPrefix, ArtifactKey)],
    ) -> Result<BTreeMap<ArtifactPrefix, usize>, UpkeepError> {
        let mut removed = BTreeMap::new();
        for prefix in ArtifactPrefix::ALL {
            let keys: Vec<ArtifactKey> = garbage
                .iter()
                .filter(|(of, _)| *of == prefix)
                .map(|(_, key)| key.clone())
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
            kept_versions: self.settings.kept_versions,
            symbols_kept: self.settings.symbols_kept,
        }
    }
}

/// The keys among the listed objects, and how many are none.
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
