//! The port to the rows of stored dumps.

use async_trait::async_trait;

use crate::audit::Change;
use crate::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump, ParseStatus};
use crate::coredumps::groups::{CrashGroupQuery, CrashGroups};
use crate::error::RepositoryError;
use crate::timestamp::Timestamp;

/// Rows of stored dumps, as people read, delete and reparse them.
#[async_trait]
pub trait CoredumpRepository: Send + Sync {
    /// The dumps of a device, newest first by `uploaded_at`, then `id`; `None` when the device does
    /// not exist. A constant number of statements.
    async fn list(&self, device_id: i64) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError>;

    /// Dumps of all devices that match the filter, newest first by `uploaded_at`, then `id`. One
    /// statement.
    async fn page(&self, page: CoredumpQuery) -> Result<Vec<FleetCoredump>, RepositoryError>;

    /// A page of groups of dumps which share a signature, by the upload of the newest dump of each
    /// and by signature, both descending. Dumps without a signature are in no group. A constant
    /// number of statements.
    async fn groups(&self, page: CrashGroupQuery) -> Result<CrashGroups, RepositoryError>;

    /// One dump of a device; `None` also when it belongs to another device.
    async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError>;

    /// Deletes dumps and queues the deletes of their objects, even while a parse runs; returns how
    /// many. `None` when the device or the single dump does not exist.
    async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        change: &Change,
    ) -> Result<Option<u64>, RepositoryError>;

    /// Makes a dump `PENDING` again: without attempts and result, due now, with the present as its
    /// position. A `PENDING` dump is left as it is, without an audit record. `None` when the device
    /// does not have the dump.
    async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        change: &Change,
    ) -> Result<Option<Coredump>, RepositoryError>;
}

/// The dumps of a device to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichCoredumps {
    One(i64),
    /// All of them; a device without dumps is fine.
    All,
}

/// Which dumps of the fleet are listed; `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoredumpFilter {
    /// Code of the model.
    pub model: Option<String>,
    /// The version the device named.
    pub firmware_version: Option<String>,
    pub status: Option<ParseStatus>,
    pub signature: Option<String>,
    /// Only dumps uploaded at this time or later.
    pub since: Option<Timestamp>,
}

/// One page of the dumps of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoredumpQuery {
    pub filter: CoredumpFilter,
    /// Only dumps after this position.
    pub after: Option<CoredumpPosition>,
    /// Maximum number of dumps.
    pub limit: u32,
}

/// The position of a dump in the list, which is sorted by both fields, descending. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoredumpPosition {
    pub uploaded_at: Timestamp,
    pub id: i64,
}
