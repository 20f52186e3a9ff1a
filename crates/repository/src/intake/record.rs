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
use crate::values::{At, StoredTime};

/// What one look at the device of a new dump tells.
#[derive(Queryable)]
struct Circumstances {
    repeated: Option<i64>,
    newest: Option<StoredTime>,
    held: Option<i64>,
    is_queued: bool,
}

/// Inserts a dump, or counts the one that has the same body. With nothing to count or prune these
/// are three statements: a look, the row, the audit record.
pub(super) async fn record(
    conn: &mut Connection,
    dump: &RecordCoredump,
    change: &Change,
) -> Result<Recorded, Failure> {
    let key = ArtifactKey::Coredump { device: dump.device.clone(), id: dump.id };
    let Some(found) = look(conn, dump, &key).await? else {
        deletes::queue(conn, &[key], change.at).await?;
        return Ok(Recorded::DeviceGone);
    };
    if found.repeated == Some(dump.id) {
        // An earlier attempt to record this very delivery has committed after all.
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
        return Err(Failure::Pool("the delete of the object has begun".into()));
    }
    let newest = read_optional(found.newest, Column("coredumps", "uploaded_at"))?;
    insert(conn, dump, upload_time(newest, change.at), change).await?;
    let quota = DumpQuota {
        device_id: dump.device_id,
        device: &dump.device,
        kept_coredumps: dump.kept_coredumps,
        now: change.at,
    };
    if found.held.unwrap_or(0) < quota.kept() {
        return Ok(Recorded::Stored { pruned: Vec::new() });
    }
    Ok(Recorded::Stored { pruned: retention::prune(conn, quota).await? })
}

/// What an earlier attempt with this very change has stored or counted after all. One that counted
/// a dump holds its row until the commit takes effect; one that stored a dump holds the device.
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

/// Holds the device until the transaction ends; `None` when it does not exist any more.
async fn look(
    conn: &mut Connection,
    dump: &RecordCoredump,
    key: &ArtifactKey,
) -> Result<Option<Circumstances>, Failure> {
    let of_device = coredumps::table.filter(coredumps::device_id.eq(devices::id));
    let newest = of_device.select(max(coredumps::uploaded_at)).single_value();
    let held = of_device.count().single_value();
    let sha256 = Some(dump.sha256.to_string());
    let repeated = newest_of_body(sha256, dump.same_body_since.map(At));
    let is_queued = exists(outbox::table.filter(outbox::object_key.eq(key.to_string())));
    let query = devices::table.find(dump.device_id).select((repeated, newest, held, is_queued));
    let found = on!(conn, |c| (locks::device(c, dump.device_id), query.first::<Circumstances>(c)));
    Ok(found.optional()?.map(|((), found)| found))
}

/// When a dump counts as received: later than every other one of its device, so that a clock that
/// was set back never makes the newest dump the oldest and has retention delete it.
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
    let size = Column("coredumps", "size").holds(i32::try_from(dump.size).ok())?;
    let (status, parsed_output, turn) = match &dump.state {
        InitialState::Due { position } => (ParseStatus::Pending, None, Some(At(*position))),
        InitialState::Fixed { status, parsed_output } => (*status, parsed_output.as_deref(), None),
    };
    let due = turn.map(|_| At(now));
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
        coredumps::turn_at.eq(turn),
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

/// Counts a dump once more; `false` when it does not exist any more.
pub(super) async fn repeat(
    conn: &mut Connection,
    id: i64,
    change: &Change,
) -> Result<bool, Failure> {
    let now = At(change.at);
    // Clocks may step back, this time does not.
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
