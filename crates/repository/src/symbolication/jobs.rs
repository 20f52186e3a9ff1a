//! The port to parse jobs: rows of dumps as a queue (contract §6.5).

use async_trait::async_trait;
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::symbolication::jobs::{
    ClaimJobs, Claimed, FinishJob, Finished, ParseJobRepository, PostponeJob, QueueState,
    StoredBuild, WantedElf,
};
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::{auto_type, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::{builds, claim, claim_postgres, finish, queue};
use crate::Database;
use crate::connection::{Connection, on};
use crate::coredumps::retention::log_pruned;
use crate::prepared::Prepared;
use crate::schema::coredumps;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// A literal: a bind on which a partial index depends would make `SQLite` prepare the statement
/// anew each time.
const IS_PENDING: &str = "parse_status = 'PENDING'";

/// The row of a job, if this owner holds its lease.
#[auto_type]
pub(super) fn leased_by(id: i64, owner: String) -> _ {
    let pending: SqlLiteral<Bool> = sql(IS_PENDING);
    coredumps::table
        .filter(coredumps::id.eq(id))
        .filter(coredumps::lease_owner.eq(owner))
        .filter(pending)
}

#[async_trait]
impl ParseJobRepository for Database {
    async fn claim(&self, claim: ClaimJobs) -> Result<Vec<Claimed>, RepositoryError> {
        if !self.is_sqlite() {
            return self
                .write_statement("parse_job.claim", async |conn| match conn {
                    Connection::Postgres(lent) => claim_postgres::claim(lent, &claim).await,
                    Connection::Sqlite(_) => Ok(Vec::new()),
                })
                .await;
        }
        // An idle worker polls every second and should not wait for the writer each time.
        if !self.read("parse_job.due", async |conn| claim::is_due(conn, claim.now).await).await? {
            return Ok(Vec::new());
        }
        self.write_at_once("parse_job.claim", async move |conn| claim::claim(conn, &claim).await)
            .await
    }

    async fn renew(
        &self,
        id: i64,
        owner: &LeaseOwner,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let job = leased_by(id, owner.as_str().to_owned());
        self.write_at_once("parse_job.renew", async move |conn| {
            let until = coredumps::lease_until.eq(At(until));
            let renewed = on!(conn, |c| Prepared(diesel::update(job).set(until)).execute(c))?;
            Ok(renewed > 0)
        })
        .await
    }

    async fn finish(
        &self,
        results: &[FinishJob],
    ) -> Result<Vec<Option<Finished>>, RepositoryError> {
        // PostgreSQL lets commits share a sync by itself, and claims one job at a time.
        let together = if self.is_sqlite() { results.len().max(1) } else { 1 };
        let mut all = Vec::with_capacity(results.len());
        for results in results.chunks(together) {
            let owned = results.to_vec();
            let finished = self
                .write_at_once("parse_job.finish", async move |conn| {
                    let mut all = Vec::with_capacity(owned.len());
                    for result in &owned {
                        all.push(finish::finish(conn, result).await?);
                    }
                    Ok(all)
                })
                .await?;
            for (finished, result) in finished.iter().zip(results) {
                log_pruned(finished.as_ref().map_or(&[], |done| &done.pruned), result.now);
            }
            all.extend(finished);
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

    async fn builds(&self, wanted: &WantedElf) -> Result<Vec<StoredBuild>, RepositoryError> {
        self.read("parse_job.builds", async |conn| builds::find(conn, wanted).await).await
    }

    async fn queue(&self, now: Timestamp) -> Result<QueueState, RepositoryError> {
        self.read("parse_job.queue", async |conn| queue::count(conn, At(now)).await).await
    }
}
