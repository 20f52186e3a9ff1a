//! Inserting a dump, or counting it.

use std::time::Duration;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::coredumps::coredump::ParseStatus;
use coredock_domain::intake::repository::{InitialState, RecordCoredump, Recorded};
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::{case_when, exists, max};
use diesel::prelude::*;

use super::{delivered, newest_of_body};
use crate::artifacts::deletes;
use crate::audit;
use crate::audit::AuditRow;
use crate::columns::{Column, read_optional};
use crate::connection::{Connection, on};
use crate::coredumps::retention::{self, DumpQuota};
use crate::failure::Failure;
use crate::locks;
use crate::prepared::Prepared;
use crate::schema::{audit_records, coredumps, devices, outbox};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};

/// What one query reads about the device of a new dump.
#[derive(Queryable)]
struct DeviceState {
    repeated: Option<i64>,
    newest: Option<StoredTime>,
    dump_count: Option<i64>,
    is_queued: bool,
}

/// Inserts a dump, or counts the stored dump that has the same body. If there is nothing to count
/// or prune, this takes three statements: a query, the row, the audit record.
pub(super) async fn record(
    conn: &mut Connection,
    dump: &RecordCoredump,
    change: &Change,
) -> Result<Recorded, Failure> {
    let key = ArtifactKey::Coredump { device: dump.device.clone(), id: dump.id };
    let Some(found) = lock_and_read(conn, dump, &key).await? else {
        deletes::queue(conn, &[key], change.at).await?;
        return Ok(Recorded::DeviceDeleted);
    };
    if found.repeated == Some(dump.id) {
        // An earlier attempt to record this dump has committed, although it reported a failure.
        return Ok(Recorded::Repeated { id: dump.id });
    }
    if dump.is_retried
        && let Some(id) = delivered_before(conn, found.repeated, change).await?
    {
        deletes::queue(conn, &[key], change.at).await?;
        return Ok(Recorded::Repeated { id });
    }
    if let Some(id) = found.repeated {
        repeat(conn, id, change).await?;
        deletes::queue(conn, &[key], change.at).await?;
        return Ok(Recorded::Repeated { id });
    }
    if found.is_queued && !deletes::cancel_unless_begun(conn, &key, change.at).await? {
        return Err(Failure::Pool(format!("the queued delete of {key} has begun").into()));
    }
    let newest = read_optional(found.newest, Column("coredumps", "uploaded_at"))?;
    insert(conn, dump, upload_time(newest, change.at), change).await?;
    let quota = DumpQuota {
        device_id: dump.device_id,
        device: &dump.device,
        max_coredumps: dump.max_coredumps,
        now: change.at,
    };
    if found.dump_count.unwrap_or(0) < quota.limit() {
        return Ok(Recorded::Stored { pruned: Vec::new() });
    }
    Ok(Recorded::Stored { pruned: retention::prune(conn, quota).await? })
}

/// The dump which an earlier attempt with the same change has stored or counted. An attempt that
/// counts a dump locks its row until the commit takes effect; one that stores a dump locks the
/// device.
async fn delivered_before(
    conn: &mut Connection,
    repeated: Option<i64>,
    change: &Change,
) -> Result<Option<i64>, Failure> {
    if let Some(id) = repeated {
        on!(conn, |c| locks::dump(c, id))?;
    }
    delivered(conn, change).await
}

/// Locks the device until the transaction ends; `None` if it does not exist any more.
async fn lock_and_read(
    conn: &mut Connection,
    dump: &RecordCoredump,
    key: &ArtifactKey,
) -> Result<Option<DeviceState>, Failure> {
    let of_device = coredumps::table.filter(coredumps::device_id.eq(devices::id));
    let newest = of_device.select(max(coredumps::uploaded_at)).single_value();
    let dump_count = of_device.count().single_value();
    let sha256 = Some(dump.sha256.to_string());
    let repeated = newest_of_body(sha256, dump.same_body_since.map(At));
    let is_queued = exists(outbox::table.filter(outbox::object_key.eq(key.to_string())));
    let columns = (repeated, newest, dump_count, is_queued);
    let query = devices::table.find(dump.device_id).select(columns);
    let found = on!(conn, |c| (locks::device(c, dump.device_id), query.first::<DeviceState>(c)));
    Ok(found.optional()?.map(|((), found)| found))
}

/// When a dump counts as received: later than every other dump of its device. Otherwise, after a
/// clock was set back, retention would delete the newest dump as the oldest.
fn upload_time(newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    newest.map_or(now, |newest| now.max(newest.after(Duration::from_micros(1))))
}

/// The row and its audit record.
async fn insert(
    conn: &mut Connection,
    dump: &RecordCoredump,
    uploaded_at: Timestamp,
    change: &Change,
) -> Result<(), Failure> {
    let now = change.at;
    let size = Column("coredumps", "size").require(i32::try_from(dump.size).ok())?;
    let (status, parsed_output, position) = match &dump.state {
        InitialState::Due { position } => (ParseStatus::Pending, None, Some(At(*position))),
        InitialState::Fixed { status, parsed_output } => (*status, parsed_output.as_deref(), None),
    };
    let due = position.map(|_| At(now));
    let row = (
        coredumps::id.eq(dump.id),
        coredumps::device_id.eq(dump.device_id),
        coredumps::chip.eq(dump.chip.as_str()),
        coredumps::firmware_version.eq(dump.firmware_version.as_str()),
        coredumps::size.eq(size),
        coredumps::sha256.eq(dump.sha256.to_string()),
        coredumps::parse_status.eq(status.as_str()),
        coredumps::parsed_output.eq(parsed_output),
        coredumps::build_id.eq(dump.build_id.as_ref().map(|build| build.as_str().to_owned())),
        coredumps::occurrences.eq(1),
        coredumps::next_attempt_at.eq(due),
        coredumps::turn_at.eq(position),
        coredumps::uploaded_at.eq(At(uploaded_at)),
        coredumps::last_seen_at.eq(At(uploaded_at)),
        coredumps::parsed_at.eq((status != ParseStatus::Pending).then_some(At(uploaded_at))),
        coredumps::created_at.eq(At(now)),
        coredumps::updated_at.eq(At(now)),
    );
    let record = AuditRow::new(change, AuditAction::CoredumpCreated, dump.id.to_string());
    on!(conn, |c| (
        diesel::insert_into(coredumps::table).values(row).execute(c),
        diesel::insert_into(audit_records::table).values(record).execute(c)
    ))?;
    Ok(())
}

/// Counts a dump once more; `false` if it does not exist any more.
pub(super) async fn repeat(
    conn: &mut Connection,
    id: i64,
    change: &Change,
) -> Result<bool, Failure> {
    let now = At(change.at);
    // Clocks may step back, `last_seen_at` must not.
    let seen =
        case_when(coredumps::last_seen_at.gt(now), coredumps::last_seen_at).otherwise(Some(now));
    let again = (
        coredumps::occurrences.eq(coredumps::occurrences + 1),
        coredumps::last_seen_at.eq(seen),
        coredumps::updated_at.eq(now),
    );
    let counted =
        on!(conn, |c| Prepared(diesel::update(coredumps::table.find(id)).set(again)).execute(c))?;
    if counted > 0 {
        audit::record(conn, change, AuditAction::CoredumpUpdated, id).await?;
    }
    Ok(counted > 0)
}
