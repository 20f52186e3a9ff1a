//! The port to the rows which deliveries of dumps write.

use async_trait::async_trait;

use crate::audit::Change;
use crate::coredumps::coredump::{BuildId, Chip, ParseStatus, ReportedVersion};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::{DeviceKey, ModelCode};
use crate::timestamp::Timestamp;

/// Rows of dumps, as deliveries write them.
#[async_trait]
pub trait IntakeRepository: Send + Sync {
    /// An id which no dump has or ever had. Reserved ids may stay unused.
    async fn reserve_id(&self) -> Result<i64, RepositoryError>;

    /// The device of a key, and its newest dump with this body, in one statement; `None` when the
    /// device does not exist.
    async fn find_sender(
        &self,
        device: &DeviceKey,
        body: Option<SameBody>,
    ) -> Result<Option<Sender>, RepositoryError>;

    /// Counts one more delivery of a dump: `occurrences` grows by one, `last_seen_at` becomes
    /// `change.at`. `false` when the dump does not exist.
    async fn repeat(&self, id: i64, change: &Change) -> Result<bool, RepositoryError>;

    /// Inserts a dump whose object is durable, and applies the retention of its device (contract
    /// §6.3). If a dump of the same body became visible meanwhile, counts that dump instead and
    /// queues the delete of the new object. A dump which is already visible under this id is
    /// neither counted nor replaced. Dumps of one device are serialized.
    async fn record(
        &self,
        dump: RecordCoredump,
        change: &Change,
    ) -> Result<Recorded, RepositoryError>;

    /// The dump which [`repeat`](Self::repeat) or [`record`](Self::record) has committed for this
    /// change, whose instant and origin no other delivery has. It is found by its audit record,
    /// even after the dump was deleted.
    async fn find_delivery(&self, change: &Change) -> Result<Option<i64>, RepositoryError>;
}

/// Which dumps count as deliveries of the same body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameBody {
    pub sha256: Sha256Digest,
    /// Dumps uploaded before this time do not count.
    pub since: Timestamp,
}

/// The device a dump comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub device_id: i64,
    pub model: ModelCode,
    /// Its newest dump with the same body.
    pub repeated: Option<i64>,
}

/// A dump to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCoredump {
    /// The reserved id, which is part of the key of the object.
    pub id: i64,
    pub device_id: i64,
    pub device: DeviceKey,
    /// The chip the device named.
    pub chip: Chip,
    /// The version the device named.
    pub firmware_version: ReportedVersion,
    /// Length of the object in bytes.
    pub size: u64,
    pub sha256: Sha256Digest,
    /// The build the dump names.
    pub build_id: Option<BuildId>,
    pub state: InitialState,
    /// A visible dump of the same body uploaded since then is counted instead.
    pub same_body_since: Option<Timestamp>,
    /// Retention keeps this many dumps of the device (`MAX_COREDUMPS`, at least 1).
    pub max_coredumps: u32,
    /// An earlier attempt with this change may have counted the dump, or may still do so: then it
    /// is not counted again.
    pub is_retried: bool,
}

/// The state a dump begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitialState {
    /// `PENDING`, due at once.
    Due {
        /// The position of its job in the fair queue.
        position: Timestamp,
    },
    /// The state never changes: no worker ever claims the dump.
    Fixed {
        status: ParseStatus,
        /// The report for people.
        parsed_output: Option<String>,
    },
}

/// The outcome of recording a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    Stored {
        /// Older dumps of the device which retention deleted.
        pruned: Vec<i64>,
    },
    /// The dump of this id has the same body and was counted.
    Repeated { id: i64 },
    /// The device does not exist any more; the delete of the object is queued.
    DeviceDeleted,
}
