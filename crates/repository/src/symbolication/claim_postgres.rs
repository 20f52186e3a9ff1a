//! The claiming statement of `PostgreSQL`: choosing, locking and leasing in one, so that workers
//! neither wait for each other nor hold a transaction between two messages.

use coredock_domain::symbolication::jobs::{ClaimJobs, Claimed};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, QueryResult};

use super::claim::{ClaimedColumns, JobRow, Origin};
use crate::failure::Failure;
use crate::postgres::{LentPostgres, PostgresDialect};
use crate::statement::RunQueryDsl;
use crate::values::{At, UtcTimestamp};

/// Leases the due job of the earliest turn, then of the lowest id, and counts the attempt if it has one
/// left. Returns the job as it was before.
#[derive(Debug)]
struct ClaimStatement {
    owner: String,
    now: At,
    until: At,
    most_attempts: i64,
}

impl ClaimStatement {
    fn new(claim: &ClaimJobs) -> Self {
        Self {
            owner: claim.owner.as_str().to_owned(),
            now: At(claim.now),
            until: At(claim.until),
            most_attempts: claim.most_attempts.into(),
        }
    }
}

impl QueryId for ClaimStatement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ClaimStatement {
    type SqlType = ClaimedColumns;
}

impl QueryFragment<Pg> for ClaimStatement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH due AS (SELECT id, attempts FROM coredumps WHERE parse_status = 'PENDING' \
             AND next_attempt_at <= ",
        );
        out.push_bind_param::<UtcTimestamp, _>(&self.now)?;
        out.push_sql(" AND (lease_until IS NULL OR lease_until <= ");
        out.push_bind_param::<UtcTimestamp, _>(&self.now)?;
        out.push_sql(
            ") ORDER BY turn_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED) \
             UPDATE coredumps c SET lease_owner = ",
        );
        out.push_bind_param::<Text, _>(&self.owner)?;
        out.push_sql(", lease_until = ");
        out.push_bind_param::<UtcTimestamp, _>(&self.until)?;
        out.push_sql(", attempts = c.attempts + CASE WHEN due.attempts < ");
        out.push_bind_param::<BigInt, _>(&self.most_attempts)?;
        out.push_sql(
            " THEN 1 ELSE 0 END FROM due, devices d, device_models m \
             WHERE c.id = due.id AND d.id = c.device_id AND m.id = d.device_model_id \
             RETURNING c.id, c.device_id, c.chip, c.firmware_version, c.size, c.sha256, \
             due.attempts, d.key, m.id, m.code",
        );
        Ok(())
    }
}

/// Leases the first due job which no other worker is about to lease.
pub(super) async fn claim(
    lent: &mut LentPostgres,
    claim: &ClaimJobs,
) -> Result<Vec<Claimed>, Failure> {
    let statement = ClaimStatement::new(claim).get_result::<(JobRow, Origin)>(PostgresDialect);
    let claimed = lent.start(statement).await.optional()?;
    claimed.into_iter().map(|(row, origin)| row.claimed(origin, claim)).collect()
}
