//! Rows of dumps.

use async_trait::async_trait;

use crate::audit::Change;
use crate::coredumps::coredump::{
    BuildId, Chip, Coredump, CoredumpSummary, FleetCoredump, ParseStatus, ReportedVersion,
};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::DeviceKey;
use crate::timestamp::Timestamp;

/// Keeps dumps.
#[async_trait]
pub trait CoredumpRepository: Send + Sync {
    /// An id no dump has or ever had. Reserved ids that are never used leave gaps.
    async fn reserve_id(&self) -> Result<i64, RepositoryError>;

    /// Looks at the device of a key and for a dump of it with this body, in one statement; `None`
    /// when there is no such device.
    async fn find_sender(
        &self,
        device: &DeviceKey,
        body: Option<SameBody>,
    ) -> Result<Option<Sender>, RepositoryError>;

    /// Notes that a dump was delivered once more: `occurrences` grows by one, `last_seen_at`
    /// becomes `change.at`. `false` when there is no such dump.
    async fn repeat(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;

    /// Inserts a dump whose object is durable, and applies the retention of its device (contract
    /// §6.3); or, if a dump of the same body became visible meanwhile, counts that one and queues
    /// the delete of the new object. One that is visible under this very id already is neither
    /// counted nor replaced. Dumps of one device are serialized.
    async fn record(
        &self,
        dump: RecordCoredump,
        change: &Change,
    ) -> Result<Recorded, RepositoryError>;

    /// The dump that [`repeat`](Self::repeat) or [`record`](Self::record) has committed on behalf of
    /// this very change, whose instant and origin no other delivery has; found by its audit record,
    /// also when the dump is gone.
    async fn find_delivery(&self, change: &Change) -> Result<Option<i64>, RepositoryError>;

    /// The dumps of a device, newest first by `uploaded_at`, then `id`; `None` when there is no
    /// such device. A constant number of statements.
    async fn list(&self, device_id: i64) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError>;

    /// Dumps of all devices that pass the filter, newest first by `uploaded_at`, then `id`, in one
    /// statement.
    async fn page(&self, page: CoredumpPage) -> Result<Vec<FleetCoredump>, RepositoryError>;

    /// One dump of a device; `None` also when it is of another device.
    async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError>;

    /// Deletes dumps and queues the deletes of their objects, whether or not a parse runs. `None`
    /// when there is no such device, or no such dump of it; else how many were deleted.
    async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        change: &Change,
    ) -> Result<Option<u64>, RepositoryError>;
}

/// A body delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameBody {
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Dumps uploaded before this do not count.
    pub since: Timestamp,
}

/// The device a dump comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Row of the device.
    pub device_id: i64,
    /// The newest dump of it with the same body.
    pub repeated: Option<i64>,
}

/// A dump to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCoredump {
    /// The reserved id; the object lies under it.
    pub id: i64,
    /// Row of the device.
    pub device_id: i64,
    /// Key of the device.
    pub device: DeviceKey,
    /// The chip the device named.
    pub chip: Chip,
    /// The version the device named.
    pub firmware_version: ReportedVersion,
    /// Length of the object in bytes.
    pub size: u64,
    /// Digest of the object.
    pub sha256: Sha256Digest,
    /// The build the dump tells of.
    pub build_id: Option<BuildId>,
    /// Its state from the beginning.
    pub state: InitialState,
    /// A visible dump of the same body uploaded since then is counted instead.
    pub same_body_since: Option<Timestamp>,
    /// Dumps kept of a device (`MAX_COREDUMPS`, at least 1).
    pub kept_coredumps: u32,
    /// An earlier attempt with this very change may have counted it, or be about to commit that:
    /// then it is not counted once more.
    pub is_retried: bool,
}

/// The state a dump begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitialState {
    /// `PENDING`, due at once.
    Due {
        /// What its job is ordered by.
        turn: Timestamp,
    },
    /// In this state for good: no worker ever claims it.
    Fixed {
        /// The state.
        status: ParseStatus,
        /// The report for people.
        parsed_output: Option<String>,
    },
}

/// How recording a dump ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is visible.
    Stored {
        /// Older dumps of the device that retention deleted.
        pruned: Vec<i64>,
    },
    /// The dump of this id has the same body and was counted.
    Repeated {
        /// The visible dump.
        id: i64,
    },
    /// The device is gone; the delete of the object is queued.
    DeviceGone,
}

/// Which dumps of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichCoredumps {
    /// This one.
    One(i64),
    /// All of them; having none is fine.
    All,
}

/// Which dumps of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoredumpFilter {
    /// Code of the model.
    pub model: Option<String>,
    /// The version the device named.
    pub firmware_version: Option<String>,
    /// The state.
    pub status: Option<ParseStatus>,
    /// The signature.
    pub signature: Option<String>,
    /// Not uploaded before this.
    pub since: Option<Timestamp>,
}

/// One page of the dumps of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoredumpPage {
    /// Which dumps.
    pub filter: CoredumpFilter,
    /// Only what comes behind this place.
    pub after: Option<CoredumpPlace>,
    /// At most this many.
    pub limit: u32,
}

/// A place in the order of all dumps; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoredumpPlace {
    /// First key of the order, descending.
    pub uploaded_at: Timestamp,
    /// Second key of the order, descending.
    pub id: i64,
}
