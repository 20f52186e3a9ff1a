//! The port to rows of dumps.

mod groups;
mod page;
pub(crate) mod retention;
pub(crate) mod row;

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump, ParseStatus};
use coredock_domain::coredumps::groups::{CrashGroupQuery, CrashGroups};
use coredock_domain::coredumps::repository::{CoredumpQuery, CoredumpRepository, WhichCoredumps};
use coredock_domain::error::RepositoryError;
use diesel::prelude::*;

use crate::columns::read_key;
use crate::connection::{Connection, on};
use crate::coredumps::row::{DetailRow, PendingAgain, SummaryRow};
use crate::failure::Failure;
use crate::locks;
use crate::schema::{coredumps, devices};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;
use crate::{Database, audit};

#[diesel::dsl::auto_type]
pub(crate) fn newest_first(device_id: i64) -> _ {
    coredumps::table
        .filter(coredumps::device_id.eq(device_id))
        .order((coredumps::uploaded_at.desc(), coredumps::id.desc()))
}

#[async_trait]
impl CoredumpRepository for Database {
    async fn list(&self, device_id: i64) -> Result<Option<Vec<CoredumpSummary>>, RepositoryError> {
        let device = devices::table.find(device_id).select(devices::id);
        self.read("coredump.list", async |conn| {
            if on!(conn, |c| device.first::<i64>(c)).optional()?.is_none() {
                return Ok(None);
            }
            let rows = on!(conn, |c| newest_first(device_id)
                .select(SummaryRow::as_select())
                .load::<SummaryRow>(c))?;
            rows.into_iter().map(SummaryRow::read).collect::<Result<_, _>>().map(Some)
        })
        .await
    }

    async fn page(&self, page: CoredumpQuery) -> Result<Vec<FleetCoredump>, RepositoryError> {
        self.read("coredump.page", async |conn| page::load(conn, &page).await).await
    }

    async fn groups(&self, page: CrashGroupQuery) -> Result<CrashGroups, RepositoryError> {
        self.read("crash_group.page", async |conn| groups::load(conn, &page).await).await
    }

    async fn find(&self, device_id: i64, id: i64) -> Result<Option<Coredump>, RepositoryError> {
        self.read("coredump.find", async |conn| load(conn, device_id, id).await).await
    }

    async fn delete(
        &self,
        device_id: i64,
        which: WhichCoredumps,
        change: &Change,
    ) -> Result<Option<u64>, RepositoryError> {
        let deleted = self
            .write("coredump.delete", async |conn| delete(conn, device_id, which, change).await)
            .await?;
        for id in deleted.iter().flatten() {
            change.log(AuditAction::CoredumpDeleted, id);
        }
        Ok(deleted.map(|ids| ids.len() as u64))
    }

    async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        change: &Change,
    ) -> Result<Option<Coredump>, RepositoryError> {
        let (changed, coredump) = self
            .write("parse_job.reparse", async |conn| {
                let changed = reparse(conn, device_id, id, change).await?;
                Ok((changed, load(conn, device_id, id).await?))
            })
            .await?;
        if changed {
            change.log(AuditAction::CoredumpUpdated, id);
        }
        Ok(coredump)
    }
}

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
    on!(conn, |c| locks::device(c, device_id))?;
    let key = devices::table.find(device_id).select(devices::key);
    let Some(key) = on!(conn, |c| key.first::<String>(c)).optional()? else {
        return Ok(None);
    };
    let of_device = coredumps::table.filter(coredumps::device_id.eq(device_id));
    let ids = match which {
        WhichCoredumps::One(id) => {
            let one = of_device.filter(coredumps::id.eq(id));
            on!(conn, |c| diesel::delete(one).returning(coredumps::id).get_results::<i64>(c))?
        }
        WhichCoredumps::All => {
            on!(conn, |c| diesel::delete(of_device).returning(coredumps::id).get_results::<i64>(c))?
        }
    };
    if ids.is_empty() {
        return Ok((which == WhichCoredumps::All).then_some(ids));
    }
    retention::queue_objects(conn, &read_key(&key)?, &ids, change.at).await?;
    audit::record_all(conn, change, AuditAction::CoredumpDeleted, &ids).await?;
    Ok(Some(ids))
}

/// Returns whether the dump had a result and is pending now.
async fn reparse(
    conn: &mut Connection,
    device_id: i64,
    id: i64,
    change: &Change,
) -> Result<bool, Failure> {
    let with_result = coredumps::table
        .filter(coredumps::id.eq(id))
        .filter(coredumps::device_id.eq(device_id))
        .filter(coredumps::parse_status.ne(ParseStatus::Pending.as_str()));
    let again = PendingAgain::due(At(change.at));
    let changed = on!(conn, |c| diesel::update(with_result).set(again).execute(c))?;
    if changed > 0 {
        audit::record(conn, change, AuditAction::CoredumpUpdated, id).await?;
    }
    Ok(changed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_plans::plan_of;

    #[test]
    fn the_dumps_of_a_device_are_read_in_the_order_of_an_index() {
        let steps = plan_of(&newest_first(1).select(SummaryRow::as_select()));
        assert_eq!(steps, ["SEARCH coredumps USING INDEX coredumps_by_device (device_id=?)"]);
    }
}
