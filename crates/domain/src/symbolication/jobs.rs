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
    /// Leases the due job with the first position, then the lowest id, and counts the attempt. A
    /// job whose last lease ran out and which has no attempt left is returned as `Exhausted`,
    /// leased like any other. Where one commit for several jobs is cheaper, the jobs which follow
    /// are leased, too, at most `claim.max_jobs` in all and only jobs without an earlier attempt:
    /// so a dump which kills its worker costs the others no more than one attempt. Empty when
    /// nothing is due.
    async fn claim(&self, claim: ClaimJobs) -> Result<Vec<Claimed>, RepositoryError>;

    /// Extends a lease to `until`; `false` when `owner` no longer holds it.
    async fn renew(
        &self,
        id: i64,
        owner: &LeaseOwner,
        until: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Writes results, releases the leases and applies the retention of the devices, which may have
    /// waited for it (contract §6.3); all in one commit where that is cheaper. A job whose missing
    /// ELF was published meanwhile becomes due again instead (contract §6.12). For each result
    /// `None` when its owner no longer holds the lease; then nothing was changed for it.
    async fn finish(&self, results: &[FinishJob])
    -> Result<Vec<Option<Finished>>, RepositoryError>;

    /// Releases the lease, makes the job due again at `postponement.due` and applies the retention
    /// of the device. `None` when `owner` no longer holds the lease; then nothing was changed.
    async fn postpone(
        &self,
        postponement: PostponeJob,
    ) -> Result<Option<Finished>, RepositoryError>;

    /// The stored builds with this prefix of the id: builds of the model first, then builds of the
    /// version, then the newest (contract §6.7). Or the build of the version of the model.
    async fn builds(&self, wanted: &WantedElf) -> Result<Vec<StoredBuild>, RepositoryError>;

    /// The number of dumps in each state.
    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError>;
}

/// Which jobs to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimJobs {
    /// A new one for each claim.
    pub owner: LeaseOwner,
    pub now: Timestamp,
    /// When the lease ends by itself.
    pub until: Timestamp,
    /// Attempts per job (`PARSE_MAX_ATTEMPTS`).
    pub max_attempts: u32,
    /// Maximum number of jobs to lease, at least 1.
    pub max_jobs: u32,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Job(Box<ParseJob>),
    /// A job whose attempts are used up: it must be finished as failed.
    Exhausted(Box<ParseJob>),
}

/// A leased job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseJob {
    /// The id of the dump.
    pub id: i64,
    pub device_id: i64,
    pub device: DeviceKey,
    pub model_id: i64,
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
    /// The id of the dump.
    pub id: i64,
    pub device_id: i64,
    pub device: DeviceKey,
    /// The owner of the lease.
    pub owner: LeaseOwner,
    pub now: Timestamp,
    /// The reason for `ERROR`; `None` means `PARSED`.
    pub fault: Option<ParseFault>,
    /// The report for people, or why there is none.
    pub parsed_output: String,
    /// The report for programs, a JSON object.
    pub report: Option<String>,
    pub signature: Option<String>,
    /// The ELF which was not found, if that is the fault.
    pub missing_elf: Option<MissingElf>,
    /// The build which the dump names; `None` leaves the column as it is.
    pub build_id: Option<BuildId>,
    /// Retention keeps this many dumps of the device (`MAX_COREDUMPS`, at least 1).
    pub max_coredumps: u32,
}

/// An ELF which was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingElf {
    pub wanted: WantedElf,
    /// Builds which have a row and whose objects are missing.
    pub tried: Vec<Sha256Digest>,
}

/// How an ELF is looked up (contract §6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedElf {
    /// By the build which the dump names.
    Build(WantedBuild),
    /// By the version which the device named, because the dump does not name a build.
    Version { model_id: i64, version: String },
}

/// What the end of a job changed in addition to its dump.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Dumps of the device which retention deleted.
    pub pruned: Vec<i64>,
    /// Whether the job is due again, because its missing ELF was published.
    pub requeued: bool,
}

/// A job to be postponed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostponeJob {
    /// The id of the dump.
    pub id: i64,
    pub device_id: i64,
    pub device: DeviceKey,
    /// The owner of the lease.
    pub owner: LeaseOwner,
    pub due: Timestamp,
    /// Whether the attempt which was begun counts.
    pub counts: bool,
    pub now: Timestamp,
    /// Retention keeps this many dumps of the device (`MAX_COREDUMPS`, at least 1).
    pub max_coredumps: u32,
}

/// A build to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBuild {
    pub build_id: BuildId,
    /// The preferred model.
    pub model: ModelCode,
    /// The preferred version.
    pub version: String,
}

/// A build whose ELF is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBuild {
    pub elf_sha256: Sha256Digest,
    /// The ELF of a version of this build, in addition to the symbol file.
    pub of_version: Option<ArtifactKey>,
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Dumps with a report.
    pub parsed: u64,
    /// Dumps which do not get a report.
    pub errors: u64,
    /// All pending dumps.
    pub pending: u64,
    /// Jobs which are due.
    pub ready: u64,
    /// Jobs due later.
    pub delayed: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Since when the oldest ready job is due.
    pub oldest_ready: Option<Timestamp>,
}
