//! Retention of the dumps of a device (contract §6.3).

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::audit::{AuditAction, Change, Origin};
use coredock_domain::coredumps::coredump::ParseStatus;
use coredock_domain::ids::DeviceKey;
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::auto_type;
use diesel::prelude::*;

use crate::artifacts::deletes::{self, MAX_BINDS};
use crate::audit;
use crate::connection::{Connection, on};
use crate::coredumps::newest_first;
use crate::failure::Failure;
use crate::schema::coredumps;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// A device, the number of its dumps to keep, and the current time.
#[derive(Clone, Copy)]
pub(crate) struct DumpQuota<'a> {
    pub(crate) device_id: i64,
    pub(crate) device: &'a DeviceKey,
    pub(crate) max_coredumps: u32,
    pub(crate) now: Timestamp,
}

impl DumpQuota<'_> {
    /// The number of dumps to keep; the newest is always kept.
    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.max_coredumps.max(1))
    }
}

/// Dumps whose parse does not run.
#[auto_type]
fn idle(now: At) -> _ {
    let pending: &'static str = ParseStatus::Pending.as_str();
    coredumps::parse_status
        .ne(pending)
        .or(coredumps::lease_until.is_null())
        .or(coredumps::lease_until.assume_not_null().le(now))
}

/// The dumps of a device beyond the limit, parses that run included.
#[auto_type]
pub(crate) fn beyond(device_id: i64, limit: i64) -> _ {
    let all: i64 = i64::MAX;
    let newest_first: newest_first = newest_first(device_id);
    newest_first.select(coredumps::id).offset(limit).limit(all)
}

/// Deletes the dumps of a device beyond the limit whose parse does not run, and queues the deletes
/// of their objects. The caller holds the lock of the device (`locks::device`).
pub(crate) async fn prune(
    conn: &mut Connection,
    quota: DumpQuota<'_>,
) -> Result<Vec<i64>, Failure> {
    let query = beyond(quota.device_id, quota.limit());
    let found = on!(conn, |c| query.load::<i64>(c))?;
    prune_found(conn, quota, &found).await
}

/// Like [`prune`], for the ids which [`beyond()`] returned.
pub(crate) async fn prune_found(
    conn: &mut Connection,
    quota: DumpQuota<'_>,
    found: &[i64],
) -> Result<Vec<i64>, Failure> {
    let mut pruned = Vec::new();
    for batch in found.chunks(MAX_BINDS) {
        let surplus =
            coredumps::table.filter(coredumps::id.eq_any(batch)).filter(idle(At(quota.now)));
        pruned.extend(on!(conn, |c| diesel::delete(surplus)
            .returning(coredumps::id)
            .get_results::<i64>(c))?);
    }
    if pruned.is_empty() {
        return Ok(pruned);
    }
    pruned.sort_unstable();
    queue_objects(conn, quota.device, &pruned, quota.now).await?;
    audit::record_all(conn, &by_retention(quota.now), AuditAction::CoredumpDeleted, &pruned)
        .await?;
    Ok(pruned)
}

/// Queues the deletes of the objects of dumps.
pub(crate) async fn queue_objects(
    conn: &mut Connection,
    device: &DeviceKey,
    ids: &[i64],
    now: Timestamp,
) -> Result<(), Failure> {
    let key = |&id| ArtifactKey::Coredump { device: device.clone(), id };
    let keys: Vec<_> = ids.iter().map(key).collect();
    deletes::queue(conn, &keys, now).await?;
    Ok(())
}

/// Logs the deletions of a committed [`prune`].
pub(crate) fn log_pruned(pruned: &[i64], now: Timestamp) {
    for id in pruned {
        by_retention(now).log(AuditAction::CoredumpDeleted, id);
    }
}

fn by_retention(now: Timestamp) -> Change {
    Change { at: now, origin: Origin::system("retention") }
}
