//! Parse jobs: the rows of dumps as a queue (contract §6.5). The lease and the attempts are columns
//! of the dump.

use async_trait::async_trait;

use crate::artifacts::key::ArtifactKey;
use crate::audit::Change;
use crate::coredumps::coredump::{BuildId, Coredump, ParseFault};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::DeviceKey;
use crate::ids::ModelCode;
use crate::ids::UploadId;
use crate::timestamp::Timestamp;

/// Hands out jobs. Two claims never hold the same dump at once (I10).
#[async_trait]
pub trait ParseJobRepository: Send + Sync {
    /// Leases the due job of the earliest turn, then of the lowest id, and counts the attempt. A job
    /// whose last lease ran out and that has no attempt left comes back as `Exhausted`, leased like
    /// any other.
    async fn claim(&self, claim: ClaimJob) -> Result<Claimed, RepositoryError>;

    /// [`claim`](Self::claim), and where that is cheaper than one by one, the jobs that follow: at
    /// most `most` in all, as long as none of them was ever tried. So a dump that takes its worker with
    /// it costs others no more than one attempt. Empty when nothing is due.
    async fn claim_many(&self, claim: ClaimJob, most: u32)
    -> Result<Vec<Claimed>, RepositoryError>;

    /// Extends a lease to `until`; `false` when `owner` no longer holds the job.
    async fn renew(
        &self,
        id: i64,
        owner: &UploadId,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Writes the result, gives the lease back and applies the retention of the device, which may
    /// have waited for it (contract §6.3). A job that misses an ELF which was published meanwhile
    /// becomes due again instead (contract §6.12). `None` when `owner` no longer holds the job; then
    /// nothing was changed.
    async fn finish(&self, result: FinishJob) -> Result<Option<Finished>, RepositoryError>;

    /// [`finish`](Self::finish) for several jobs; where that is cheaper, in one commit, which writes
    /// all results or none.
    async fn finish_all(
        &self,
        results: Vec<FinishJob>,
    ) -> Result<Vec<Option<Finished>>, RepositoryError>;

    /// Gives the lease back, makes the job due again at `postponement.due` and applies the retention
    /// of the device. `None` when `owner` no longer holds the job; then nothing was changed.
    async fn postpone(
        &self,
        postponement: PostponeJob,
    ) -> Result<Option<Finished>, RepositoryError>;

    /// Makes a dump `PENDING` again: no attempts, due and its turn at once, result cleared, not audited when it
    /// was `PENDING` already, which changes nothing. `None` when there is no such dump of the device.
    async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        change: &Change,
    ) -> Result<Option<Coredump>, RepositoryError>;

    /// The builds held whose id begins so, those of the model first, then those of the version, then
    /// the newest (contract §6.7).
    async fn builds(&self, wanted: WantedBuild) -> Result<Vec<HeldBuild>, RepositoryError>;

    /// How many dumps there are in which state.
    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError>;
}

/// Which job to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimJob {
    /// Who claims; fresh for each claim.
    pub owner: UploadId,
    /// The present.
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
    /// Attempts a job has (`PARSE_MAX_ATTEMPTS`).
    pub most_attempts: u32,
}

/// What a claim got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A job to work on.
    Job(Box<ParseJob>),
    /// A job that used up its attempts; to be finished as failed.
    Exhausted(Box<ParseJob>),
    /// Nothing is due.
    Nothing,
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
    /// Holder of the lease.
    pub owner: UploadId,
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
    /// The ELF that was looked for in vain, when that is the fault.
    pub missing_elf: Option<MissingElf>,
    /// The build the dump tells of; `None` leaves what the row has.
    pub build_id: Option<BuildId>,
    /// Dumps kept of a device (`MAX_COREDUMPS`, at least 1).
    pub kept_coredumps: u32,
}

/// An ELF that was looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingElf {
    /// Which one.
    pub wanted: WantedElf,
    /// Builds that are held by their rows and whose objects are not there.
    pub tried: Vec<Sha256Digest>,
}

/// How an ELF is looked for (contract §6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedElf {
    /// By the build the dump tells of.
    Build(WantedBuild),
    /// By the version the device named; the dump tells of no build.
    Version {
        /// Row of the model.
        model_id: i64,
        /// The version text.
        version: String,
    },
}

/// What ending work on a job changed beside its dump.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Dumps of the device that retention deleted.
    pub pruned: Vec<i64>,
    /// Whether the job is due again, because the ELF it misses has come.
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
    /// Holder of the lease.
    pub owner: UploadId,
    /// When it is due again.
    pub due: Timestamp,
    /// Whether the attempt that was begun counts.
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

/// A build that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBuild {
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
