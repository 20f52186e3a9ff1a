//! The port to the rows of stored dumps.

use async_trait::async_trait;

use crate::audit::Change;
use crate::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump, ParseStatus};
use crate::coredumps::groups::{CrashGroupPage, CrashGroups};
use crate::error::RepositoryError;
use crate::timestamp::Timestamp;

/// Rows of stored dumps, for people who look at them.
#[async_trait]
pub trait CoredumpRepository: Send + Sync {
    /// The dumps of a device, newest first by `uploaded_at`, then `id`; `None` when the device does
    /// not exist. A constant number of statements.
    async fn list(&self, device_id: i64) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError>;

    /// Dumps of all devices which pass the filter, newest first by `uploaded_at`, then `id`, in one
    /// statement.
    async fn page(&self, page: CoredumpPage) -> Result<Vec<FleetCoredump>, RepositoryError>;

    /// A page of groups of dumps which share a signature, by the upload of the newest dump of each
    /// and by signature, both descending. Dumps without a signature are in no group. A constant
    /// number of statements.
    async fn groups(&self, page: CrashGroupPage) -> Result<CrashGroups, RepositoryError>;

    /// One dump of a device; `None` also when it belongs to another device.
    async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError>;

    /// Deletes dumps and queues the deletes of their objects, whether or not a parse runs. `None`
    /// when the device, or the one dump, does not exist; else how many were deleted.
    async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        change: &Change,
    ) -> Result<Option<u64>, RepositoryError>;

    /// Makes a dump `PENDING` again: no attempts, due and first in its place at once, result
    /// cleared. A dump which is `PENDING` already is left as it is, without an audit record. `None`
    /// when the device has no such dump.
    async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        change: &Change,
    ) -> Result<Option<Coredump>, RepositoryError>;
}

/// Which dumps of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichCoredumps {
    One(i64),
    /// All of them; a device without dumps is fine.
    All,
}

/// Which dumps of the fleet. What is `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoredumpFilter {
    /// Code of the model.
    pub model: Option<String>,
    /// The version the device named.
    pub firmware_version: Option<String>,
    pub status: Option<ParseStatus>,
    pub signature: Option<String>,
    /// Uploaded then or later.
    pub since: Option<Timestamp>,
}

/// One page of the dumps of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoredumpPage {
    pub filter: CoredumpFilter,
    /// Only dumps behind this place.
    pub after: Option<CoredumpPlace>,
    /// At most this many.
    pub limit: u32,
}

/// A place in the order of all dumps; it never changes. Both keys descend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoredumpPlace {
    pub uploaded_at: Timestamp,
    pub id: i64,
}
