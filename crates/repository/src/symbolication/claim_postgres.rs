//! The claim on `PostgreSQL`: one statement chooses, locks and leases a job, so that workers do not
//! wait for each other and no transaction stays open between two messages.

use coredock_domain::symbolication::jobs::{ClaimJobs, Claimed};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, QueryResult};

use super::claim::{ClaimedColumns, JobOrigin, JobRow};
use crate::failure::Failure;
use crate::postgres::{LentPostgres, PostgresDialect};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, UtcTimestamp};

/// Leases the first due job in the order of `turn_at`, then of ids, and counts the attempt if the
/// job has one left. Returns the row with the attempts before the claim.
#[derive(Debug)]
struct ClaimStatement {
    owner: String,
    now: At,
    until: At,
    max_attempts: i64,
}

impl ClaimStatement {
    fn new(claim: &ClaimJobs) -> Self {
        Self {
            owner: claim.owner.as_str().to_owned(),
            now: At(claim.now),
            until: At(claim.until),
            max_attempts: claim.max_attempts.into(),
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
        out.push_bind_param::<BigInt, _>(&self.max_attempts)?;
        out.push_sql(
            " THEN 1 ELSE 0 END FROM due, devices d, device_models m \
             WHERE c.id = due.id AND d.id = c.device_id AND m.id = d.device_model_id \
             RETURNING c.id, c.device_id, c.chip, c.firmware_version, c.size, c.sha256, \
             due.attempts, d.key, m.id, m.code",
        );
        Ok(())
    }
}

/// Leases the first due job which no other worker is leasing.
pub(super) async fn claim(
    lent: &mut LentPostgres,
    claim: &ClaimJobs,
) -> Result<Vec<Claimed>, Failure> {
    let statement = ClaimStatement::new(claim).get_result::<(JobRow, JobOrigin)>(PostgresDialect);
    let claimed = lent.start(statement).await.optional()?;
    claimed.into_iter().map(|(row, origin)| row.claimed(&origin, claim)).collect()
}
