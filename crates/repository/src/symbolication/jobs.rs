//! The port to parse jobs: rows of dumps as a queue (contract §6.5).

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::coredumps::coredump::{Coredump, ParseStatus};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::UploadId;
use coredock_domain::symbolication::jobs::{
    ClaimJob, Claimed, FinishJob, Finished, HeldBuild, ParseJobRepository, PostponeJob, QueueState,
    WantedBuild,
};
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::{auto_type, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;

use super::{builds, claim, claim_postgres, finish, queue};
use crate::connection::{Connection, on, one_statement, read, write, write_at_once};
use crate::coredumps::retention::log_pruned;
use crate::coredumps::row::PendingAgain;
use crate::failure::Failure;
use crate::prepared::Prepared;
use crate::schema::coredumps;
use crate::values::At;
use crate::{Database, audit};

/// The state stands in the text: a bind that an index of one state depends on has `SQLite` prepare
/// the statement anew each time.
const IS_PENDING: &str = "parse_status = 'PENDING'";

/// A job, as long as this owner holds it.
#[auto_type]
pub(super) fn held(id: i64, owner: String) -> _ {
    let pending: SqlLiteral<Bool> = sql(IS_PENDING);
    coredumps::table
        .filter(coredumps::id.eq(id))
        .filter(coredumps::lease_owner.eq(owner))
        .filter(pending)
}

#[async_trait]
impl ParseJobRepository for Database {
    async fn claim_many(
        &self,
        claim: ClaimJob,
        most: u32,
    ) -> Result<Vec<Claimed>, RepositoryError> {
        if self.sqlite().is_none() {
            let claimed = ParseJobRepository::claim(self, claim).await?;
            return Ok(if claimed == Claimed::Nothing { Vec::new() } else { vec![claimed] });
        }
        // An idle worker looks every second: it should not wait for the writer every second.
        if !read!(self, "parse_job.due", |conn| { claim::is_due(conn, claim.now).await })? {
            return Ok(Vec::new());
        }
        write_at_once!(self, "parse_job.claim", |conn| { claim::claim(conn, &claim, most).await })
    }

    async fn claim(&self, claim: ClaimJob) -> Result<Claimed, RepositoryError> {
        if self.sqlite().is_some() {
            let claimed = self.claim_many(claim, 1).await?;
            return Ok(claimed.into_iter().next().unwrap_or(Claimed::Nothing));
        }
        one_statement!(self, "parse_job.claim", |conn| {
            conn.on_postgres(async |c| claim_postgres::claim(c, &claim).await)
                .await?
                .unwrap_or(Ok(Claimed::Nothing))
        })
    }

    async fn renew(
        &self,
        id: i64,
        owner: &UploadId,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let job = held(id, owner.as_str().to_owned());
        write_at_once!(self, "parse_job.renew", |conn| {
            let until = coredumps::lease_until.eq(At(until));
            let renewed = on!(conn, |c| Prepared(diesel::update(job).set(until)).execute(c))?;
            Ok(renewed > 0)
        })
    }

    async fn finish(&self, result: FinishJob) -> Result<Option<Finished>, RepositoryError> {
        let now = result.now;
        let finished = write_at_once!(self, "parse_job.finish", |conn| {
            finish::finish(conn, &result).await
        })?;
        if let Some(finished) = &finished {
            log_pruned(&finished.pruned, now);
        }
        Ok(finished)
    }

    async fn finish_all(
        &self,
        results: Vec<FinishJob>,
    ) -> Result<Vec<Option<Finished>>, RepositoryError> {
        if self.sqlite().is_none() {
            let mut all = Vec::new();
            for result in results {
                all.push(ParseJobRepository::finish(self, result).await?);
            }
            return Ok(all);
        }
        let times: Vec<_> = results.iter().map(|result| result.now).collect();
        let all = write_at_once!(self, "parse_job.finish", |conn| {
            let mut all = Vec::new();
            for result in &results {
                all.push(finish::finish(conn, result).await?);
            }
            Ok(all)
        })?;
        for (finished, now) in all.iter().zip(times) {
            log_pruned(finished.as_ref().map_or(&[], |finished| &finished.pruned), now);
        }
        Ok(all)
    }

    async fn postpone(
        &self,
        postponement: PostponeJob,
    ) -> Result<Option<Finished>, RepositoryError> {
        let now = postponement.now;
        let postponed = write_at_once!(self, "parse_job.postpone", |conn| {
            finish::postpone(conn, &postponement).await
        })?;
        if let Some(postponed) = &postponed {
            log_pruned(&postponed.pruned, now);
        }
        Ok(postponed)
    }

    async fn reparse(
        &self,
        device_id: i64,
        id: i64,
        change: &Change,
    ) -> Result<Option<Coredump>, RepositoryError> {
        let (changed, coredump) = write!(self, "parse_job.reparse", |conn| {
            let changed = reparse(conn, device_id, id, change).await?;
            Ok((changed, crate::coredumps::load(conn, device_id, id).await?))
        })?;
        if changed {
            change.log(AuditAction::CoredumpUpdated, id);
        }
        Ok(coredump)
    }

    async fn builds(&self, wanted: WantedBuild) -> Result<Vec<HeldBuild>, RepositoryError> {
        read!(self, "parse_job.builds", |conn| { builds::find(conn, &wanted).await })
    }

    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError> {
        read!(self, "parse_job.queue", |conn| { queue::count(conn, At(now)).await })
    }
}

/// Whether there was a dump with a result.
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
    let changed = on!(&mut *conn, |c| diesel::update(with_result).set(again).execute(c))?;
    if changed > 0 {
        audit::record(conn, change, AuditAction::CoredumpUpdated, id).await?;
    }
    Ok(changed > 0)
}
