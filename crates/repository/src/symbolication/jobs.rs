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

use super::{builds, claim, claim_postgres, finish, queue};
use crate::connection::{Connection, on};
use crate::coredumps::retention::log_pruned;
use crate::coredumps::row::PendingAgain;
use crate::failure::Failure;
use crate::prepared::Prepared;
use crate::schema::coredumps;
use crate::statement::RunQueryDsl;
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
        if !self.is_sqlite() {
            let claimed = ParseJobRepository::claim(self, claim).await?;
            return Ok(if claimed == Claimed::Nothing { Vec::new() } else { vec![claimed] });
        }
        // An idle worker looks every second: it should not wait for the writer every second.
        if !self.read("parse_job.due", async |conn| claim::is_due(conn, claim.now).await).await? {
            return Ok(Vec::new());
        }
        self.write_at_once("parse_job.claim", async move |conn| {
            claim::claim(conn, &claim, most).await
        })
        .await
    }

    async fn claim(&self, claim: ClaimJob) -> Result<Claimed, RepositoryError> {
        if self.is_sqlite() {
            let claimed = self.claim_many(claim, 1).await?;
            return Ok(claimed.into_iter().next().unwrap_or(Claimed::Nothing));
        }
        self.write_statement("parse_job.claim", async |conn| match conn {
            Connection::Postgres(lent) => claim_postgres::claim(lent, &claim).await,
            Connection::Sqlite(_) => Ok(Claimed::Nothing),
        })
        .await
    }

    async fn renew(
        &self,
        id: i64,
        owner: &UploadId,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let job = held(id, owner.as_str().to_owned());
        self.write_at_once("parse_job.renew", async move |conn| {
            let until = coredumps::lease_until.eq(At(until));
            let renewed = on!(conn, |c| Prepared(diesel::update(job).set(until)).execute(c))?;
            Ok(renewed > 0)
        })
        .await
    }

    async fn finish(&self, result: FinishJob) -> Result<Option<Finished>, RepositoryError> {
        let now = result.now;
        let finished = self
            .write_at_once("parse_job.finish", async move |conn| {
                finish::finish(conn, &result).await
            })
            .await?;
        if let Some(finished) = &finished {
            log_pruned(&finished.pruned, now);
        }
        Ok(finished)
    }

    async fn finish_all(
        &self,
        results: Vec<FinishJob>,
    ) -> Result<Vec<Option<Finished>>, RepositoryError> {
        if !self.is_sqlite() {
            let mut all = Vec::new();
            for result in results {
                all.push(ParseJobRepository::finish(self, result).await?);
            }
            return Ok(all);
        }
        let times: Vec<_> = results.iter().map(|result| result.now).collect();
        let all = self
            .write_at_once("parse_job.finish", async move |conn| {
                let mut all = Vec::new();
                for result in &results {
                    all.push(finish::finish(conn, result).await?);
                }
                Ok(all)
            })
            .await?;
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
        let postponed = self
            .write_at_once("parse_job.postpone", async move |conn| {
                finish::postpone(conn, &postponement).await
            })
            .await?;
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
        let (changed, coredump) = self
            .write("parse_job.reparse", async |conn| {
                let changed = reparse(conn, device_id, id, change).await?;
                Ok((changed, crate::coredumps::load(conn, device_id, id).await?))
            })
            .await?;
        if changed {
            change.log(AuditAction::CoredumpUpdated, id);
        }
        Ok(coredump)
    }

    async fn builds(&self, wanted: WantedBuild) -> Result<Vec<HeldBuild>, RepositoryError> {
        self.read("parse_job.builds", async |conn| builds::find(conn, &wanted).await).await
    }

    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError> {
        self.read("parse_job.queue", async |conn| queue::count(conn, At(now)).await).await
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
    let changed = on!(conn, |c| diesel::update(with_result).set(again).execute(c))?;
    if changed > 0 {
        audit::record(conn, change, AuditAction::CoredumpUpdated, id).await?;
    }
    Ok(changed > 0)
}
