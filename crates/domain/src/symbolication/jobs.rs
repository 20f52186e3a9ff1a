//! Parse jobs: the rows of dumps as a queue (contract §6.5). The lease and the attempts are columns
//! of the dump.

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::coredumps::coredump::{BuildId, ParseFault};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::DeviceKey;
use crate::ids::LeaseOwner;
use crate::ids::ModelCode;
use crate::timestamp::Timestamp;

/// The rows of dumps as a queue. Two claims never lease the same dump at once (I10).
#[async_trait]
pub trait ParseJobRepository: Send + Sync {
    /// Leases the due job which is first in the queue, then of the lowest id, and counts the attempt. A
    /// job whose last lease ran out and which has no attempt left is returned as `Exhausted`, leased
    /// like any other. Where one commit for several is cheaper, also the jobs which follow, at most
    /// `claim.most_jobs` in all, as long as none of them was ever tried: a dump which kills its worker
    /// costs the others no more than one attempt. Empty when nothing is due.
    async fn claim(&self, claim: ClaimJobs) -> Result<Vec<Claimed>, RepositoryError>;

    /// Extends a lease to `until`; `false` when `owner` does not have the job any more.
    async fn renew(
        &self,
        id: i64,
        owner: &LeaseOwner,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Writes results, gives the leases back and applies the retention of the devices, which may have
    /// waited for it (contract §6.3); where it is cheaper, all of them in one commit. A job which
    /// misses an ELF that was published meanwhile becomes due again instead (contract §6.12). For each
    /// result `None` when its owner does not have the job any more; then nothing was changed for it.
    async fn finish(&self, results: &[FinishJob])
    -> Result<Vec<Option<Finished>>, RepositoryError>;

    /// Gives the lease back, makes the job due again at `postponement.due` and applies the retention
    /// of the device. `None` when `owner` does not have the job any more; then nothing was changed.
    async fn postpone(
        &self,
        postponement: PostponeJob,
    ) -> Result<Option<Finished>, RepositoryError>;

    /// The stored builds whose id begins so, those of the model first, then those of the version, then
    /// the newest (contract §6.7); or the build of the version of the model.
    async fn builds(&self, wanted: &WantedElf) -> Result<Vec<StoredBuild>, RepositoryError>;

    /// How many dumps there are in which state.
    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError>;
}

/// Which jobs to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimJobs {
    /// Fresh for each claim.
    pub owner: LeaseOwner,
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
    /// Attempts per job (`PARSE_MAX_ATTEMPTS`).
    pub most_attempts: u32,
    /// Jobs to lease, at most and at least 1.
    pub most_jobs: u32,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A job to work on.
    Job(Box<ParseJob>),
    /// A job which used up its attempts; to be finished as failed.
    Exhausted(Box<ParseJob>),
}

/// A leased job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseJob {
    /// Row id of the dump.
    pub id: i64,
    /// Row of its device.
    pub device_id: i64,
    /// Key of its device.
    pub device: DeviceKey,
    /// Row of the model of its device.
    pub model_id: i64,
    /// Code of that model.
    pub model: ModelCode,
    /// The chip the device named.
    pub chip: String,
    /// The version the device named.
    pub firmware_version: String,
    /// Length of the object in bytes.
    pub size: u64,
    /// Digest of the object.
    pub sha256: Sha256Digest,
    /// Attempts, this one included.
    pub attempts: u32,
}

/// The result of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishJob {
    /// Row id of the dump.
    pub id: i64,
    /// Row of its device.
    pub device_id: i64,
    /// Key of its device.
    pub device: DeviceKey,
    /// Owner of the lease.
    pub owner: LeaseOwner,
    /// The present.
    pub now: Timestamp,
    /// `ERROR` for this reason; `None`: `PARSED`.
    pub fault: Option<ParseFault>,
    /// The report for people, or why there is none.
    pub parsed_output: String,
    /// The report for programs, a JSON object.
    pub report: Option<String>,
    /// Hash that dumps of one cause share.
    pub signature: Option<String>,
    /// The ELF which was looked for in vain, when that is the fault.
    pub missing_elf: Option<MissingElf>,
    /// The build the dump names; `None` leaves what the row has.
    pub build_id: Option<BuildId>,
    /// Dumps kept of a device (`MAX_COREDUMPS`, at least 1).
    pub kept_coredumps: u32,
}

/// An ELF which was looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingElf {
    /// Which one.
    pub wanted: WantedElf,
    /// Builds which have a row and whose objects are missing.
    pub tried: Vec<Sha256Digest>,
}

/// How an ELF is looked for (contract §6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedElf {
    /// By the build the dump tells of.
    Build(WantedBuild),
    /// By the version the device named; the dump names no build.
    Version {
        /// Row of the model.
        model_id: i64,
        /// The version text.
        version: String,
    },
}

/// What the end of work on a job changed beside its dump.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Dumps of the device which retention deleted.
    pub pruned: Vec<i64>,
    /// Whether the job is due again, because the ELF it misses was published.
    pub requeued: bool,
}

/// A job to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostponeJob {
    /// Row id of the dump.
    pub id: i64,
    /// Row of its device.
    pub device_id: i64,
    /// Key of its device.
    pub device: DeviceKey,
    /// Owner of the lease.
    pub owner: LeaseOwner,
    /// When it is due again.
    pub due: Timestamp,
    /// Whether the attempt which was begun counts.
    pub counts: bool,
    /// The present.
    pub now: Timestamp,
    /// Dumps kept of a device (`MAX_COREDUMPS`, at least 1).
    pub kept_coredumps: u32,
}

/// A build to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBuild {
    /// How its SHA-256 begins.
    pub build_id: BuildId,
    /// The model that is preferred.
    pub model: ModelCode,
    /// The version text that is preferred.
    pub version: String,
}

/// A build whose ELF is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBuild {
    /// Digest of its ELF.
    pub elf_sha256: Sha256Digest,
    /// The ELF of a version of this build, beside the copy under its digest.
    pub of_version: Option<ArtifactKey>,
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Dumps with a report.
    pub parsed: u64,
    /// Dumps without one for good.
    pub errors: u64,
    /// Pending dumps, whatever they wait for.
    pub pending: u64,
    /// Jobs to be claimed now.
    pub ready: u64,
    /// Jobs due later.
    pub delayed: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Since when the oldest ready job is due.
    pub oldest_ready: Option<Timestamp>,
}
