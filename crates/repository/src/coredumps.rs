//! The port to rows of dumps.

mod group_commit;
mod ids;
mod page;
mod record;
pub(crate) mod retention;
pub(crate) mod row;

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change, Origin};
use coredock_domain::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump};
use coredock_domain::coredumps::repository::{
    CoredumpPage, CoredumpRepository, RecordCoredump, Recorded, SameBody, Sender, WhichCoredumps,
};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::DeviceKey;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

pub(crate) use group_commit::CoredumpQueue;
pub(crate) use ids::CoredumpIds;

use crate::connection::{Connection, on, read, write, write_at_once};
use crate::coredumps::row::{DetailRow, SummaryRow};
use crate::devices::read_key;
use crate::failure::Failure;
use crate::schema::{audit_records, coredumps, devices};
use crate::values::{At, Column};
use crate::{Database, audit};

/// The newest dump of the device of the enclosing query with this body that was uploaded since then;
/// none where there is no such body or instant.
#[diesel::dsl::auto_type]
fn newest_of_body(sha256: Option<String>, since: Option<At>) -> _ {
    coredumps::table
        .filter(coredumps::device_id.eq(devices::id))
        .filter(coredumps::sha256.eq(sha256))
        .filter(coredumps::uploaded_at.nullable().ge(since))
        .order((coredumps::uploaded_at.desc(), coredumps::id.desc()))
        .select(coredumps::id)
        .single_value()
}

/// What a device delivered at an instant in a request, by the audit record of the commit.
#[diesel::dsl::auto_type]
fn records_of(at: At, device: String, correlation_id: String) -> _ {
    audit_records::table
        .filter(audit_records::at.eq(at))
        .filter(audit_records::actor_subject.eq(device))
        .filter(audit_records::correlation_id.eq(correlation_id))
        .filter(audit_records::target_type.eq("Coredump"))
        .select(audit_records::target_id)
}

/// The dump that this very change has stored or counted.
async fn delivered(conn: &mut Connection, change: &Change) -> Result<Option<i64>, Failure> {
    let Origin { actor, correlation_id, .. } = change.origin.clone();
    let query = records_of(At(change.at), actor.subject, correlation_id);
    let id = on!(conn, |c| query.first::<String>(c)).optional()?;
    let column = Column("audit_records", "target_id");
    id.map(|id| column.holds(id.parse().ok())).transpose()
}

/// The dumps of a device.
#[diesel::dsl::auto_type]
pub(crate) fn newest_first(device_id: i64) -> _ {
    coredumps::table
        .filter(coredumps::device_id.eq(device_id))
        .order((coredumps::uploaded_at.desc(), coredumps::id.desc()))
}

#[async_trait]
impl CoredumpRepository for Database {
    async fn reserve_id(&self) -> Result<i64, RepositoryError> {
        ids::reserve(self).await
    }

    async fn find_sender(
        &self,
        device: &DeviceKey,
        body: Option<SameBody>,
    ) -> Result<Option<Sender>, RepositoryError> {
        let sha256 = body.map(|body| body.sha256.to_string());
        let since = body.map(|body| At(body.since));
        let query = devices::table
            .filter(devices::key.eq(device.as_str()))
            .select((devices::id, newest_of_body(sha256, since)));
        read!(self, "coredump.find_sender", |conn| {
            let row = on!(conn, |c| query.first::<(i64, Option<i64>)>(c)).optional()?;
            Ok(row.map(|(device_id, repeated)| Sender { device_id, repeated }))
        })
    }

    async fn repeat(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        let owned = change.clone();
        let repeated = write_at_once!(self, "coredump.repeat", |conn| {
            record::repeat(conn, id, &owned).await
        })?;
        if repeated {
            change.log(AuditAction::CoredumpUpdated, id);
        }
        Ok(repeated)
    }

    async fn record(
        &self,
        dump: RecordCoredump,
        change: &Change,
    ) -> Result<Recorded, RepositoryError> {
        let id = dump.id;
        let recorded = match self.sqlite() {
            Some(sqlite) => group_commit::record(self, sqlite, (dump, change.clone())).await?,
            None => write!(self, "coredump.record", |conn| {
                record::record(conn, &dump, change).await
            })?,
        };
        log_recorded(&recorded, id, change);
        Ok(recorded)
    }

    async fn find_delivery(&self, change: &Change) -> Result<Option<i64>, RepositoryError> {
        read!(self, "coredump.find_delivery", |conn| { delivered(conn, change).await })
    }

    async fn list(&self, device_id: i64) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError> {
        let device = devices::table.find(device_id).select(devices::id);
        read!(self, "coredump.list", |conn| {
            if on!(&mut *conn, |c| device.first::<i64>(c)).optional()?.is_none() {
                return Ok(None);
            }
            let rows = on!(conn, |c| newest_first(device_id)
                .select(SummaryRow::as_select())
                .load::<SummaryRow>(c))?;
            rows.into_iter().map(SummaryRow::read).collect::<Result<_, _>>().map(Some)
        })
    }

    async fn page(&self, page: CoredumpPage) -> Result<Vec<FleetCoredump>, RepositoryError> {
        read!(self, "coredump.page", |conn| { page::load(conn, &page).await })
    }

    async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError> {
        read!(self, "coredump.find", |conn| { load(conn, device_id, id).await })
    }

    async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        change: &Change,
    ) -> Result<Option<u64>, RepositoryError> {
        let deleted = write!(self, "coredump.delete", |conn| {
            delete(conn, device_id, which, change).await
        })?;
        for id in deleted.iter().flatten() {
            change.log(AuditAction::CoredumpDeleted, id);
        }
        Ok(deleted.map(|ids| ids.len() as u64))
    }
}

/// The audit lines of a committed record.
fn log_recorded(recorded: &Recorded, id: i64, change: &Change) {
    match recorded {
        Recorded::Stored { pruned } => {
            change.log(AuditAction::CoredumpCreated, id);
            retention::log_pruned(pruned, change.at);
        }
        Recorded::Repeated { id } => change.log(AuditAction::CoredumpUpdated, id),
        Recorded::DeviceGone => {}
    }
}

/// Loads a dump of a device.
pub(crate) async fn load(
    conn: &mut Connection,
    device_id: i64,
    id: i64,
) -> Result<Option<Coredump>, Failure> {
    let query = coredumps::table
        .inner_join(devices::table)
        .filter(coredumps::id.eq(id))
        .filter(coredumps::device_id.eq(device_id));
    let row = on!(conn, |c| query
        .select((DetailRow::as_select(), devices::key))
        .first::<(DetailRow, String)>(c))
    .optional()?;
    row.map(|(row, key)| row.read(&key)).transpose()
}

async fn delete(
    conn: &mut Connection,
    device_id: i64,
    which: WhichCoredumps,
    change: &Change,
) -> Result<Option<Vec<i64>>, Failure> {
    conn.lock_device(device_id).await?;
    let key = devices::table.find(device_id).select(devices::key);
    let Some(key) = on!(&mut *conn, |c| key.first::<String>(c)).optional()? else {
        return Ok(None);
    };
    let of_device = coredumps::table.filter(coredumps::device_id.eq(device_id));
    let ids = match which {
        WhichCoredumps::One(id) => {
            let one = of_device.filter(coredumps::id.eq(id));
            on!(&mut *conn, |c| diesel::delete(one).returning(coredumps::id).get_results::<i64>(c))?
        }
        WhichCoredumps::All => on!(&mut *conn, |c| diesel::delete(of_device)
            .returning(coredumps::id)
            .get_results::<i64>(c))?,
    };
    if ids.is_empty() {
        return Ok((which == WhichCoredumps::All).then_some(ids));
    }
    retention::queue_objects(conn, &read_key(&key)?, &ids, change.at).await?;
    audit::record_all(conn, change, AuditAction::CoredumpDeleted, &ids).await?;
    Ok(Some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::plan_of;

    #[test]
    fn the_dumps_of_a_device_are_read_in_the_order_of_an_index() {
        let steps = plan_of(&newest_first(1).select(SummaryRow::as_select()));
        assert_eq!(steps, ["SEARCH coredumps USING INDEX coredumps_by_device (device_id=?)"]);
    }

    #[test]
    fn a_delivery_is_found_by_its_instant() {
        let at = At(coredock_domain::timestamp::Timestamp::from_micros(0));
        let steps = plan_of(&records_of(at, String::new(), String::new()));
        assert_eq!(steps, ["SEARCH audit_records USING INDEX audit_records_by_time (at=?)"]);
    }

    #[test]
    fn a_sender_and_its_repeated_body_are_found_by_indexes() {
        let query =
            devices::table.filter(devices::key.eq("abcd2345")).select(newest_of_body(None, None));
        let steps = plan_of(&query);
        let uses = |index: &str| steps.iter().any(|step| step.contains(index));
        assert!(
            uses("coredumps_by_digest (device_id=? AND sha256=? AND uploaded_at>?)"),
            "{steps:?}"
        );
        assert!(!uses("TEMP B-TREE"), "{steps:?}");
        assert!(!uses("SCAN d"), "{steps:?}");
    }
}
