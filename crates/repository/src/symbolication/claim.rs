//! Leasing a job.

use coredock_domain::symbolication::jobs::{ClaimJobs, Claimed, ParseJob};
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::Sqlite;

use crate::columns::{read_attempts, read_code, read_key, read_sha256, read_size};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::prepared::Prepared;
use crate::schema::coredumps;
use crate::sqlite::SqliteDialect;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, UtcTimestamp};

/// The due jobs in the order of `turn_at`, then of ids. The state is a literal and not a bind,
/// because the index of due jobs covers that state only; `CROSS` makes `SQLite` keep the order of
/// that index.
const DUE: &str = "SELECT c.id, c.device_id, c.chip, c.firmware_version, c.size, c.sha256, \
     c.attempts, d.key, m.id, m.code FROM coredumps c CROSS JOIN devices d ON d.id = c.device_id \
     CROSS JOIN device_models m ON m.id = d.device_model_id \
     WHERE c.parse_status = 'PENDING' AND c.next_attempt_at <= ?1 \
     AND (c.lease_until IS NULL OR c.lease_until <= ?1) \
     ORDER BY c.turn_at NULLS FIRST, c.id LIMIT ?2";

/// [`DUE`] at an instant, prepared once for each connection.
#[derive(Debug)]
struct DueJobs {
    now: At,
    limit: i64,
}

impl QueryId for DueJobs {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for DueJobs {
    type SqlType = ClaimedColumns;
}

impl QueryFragment<Sqlite> for DueJobs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(DUE);
        out.push_bind_param_value_only::<UtcTimestamp, _>(&self.now)?;
        out.push_bind_param_value_only::<BigInt, _>(&self.limit)
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = coredumps)]
pub(super) struct JobRow {
    id: i64,
    device_id: i64,
    chip: String,
    firmware_version: String,
    size: i32,
    sha256: Option<String>,
    attempts: i32,
}

/// The columns of a [`JobRow`], with the attempts before the claim, and of a [`JobOrigin`].
pub(super) type ClaimedColumns =
    ((BigInt, BigInt, Text, Text, Integer, Nullable<Text>, Integer), (Text, BigInt, Text));

/// The device of a job, and its model.
#[derive(Queryable)]
pub(super) struct JobOrigin {
    device_key: String,
    model_id: i64,
    model_code: String,
}

impl JobRow {
    fn is_exhausted(&self, claim: &ClaimJobs) -> bool {
        i64::from(self.attempts) >= i64::from(claim.max_attempts)
    }

    /// The job after the claim.
    pub(super) fn claimed(self, origin: &JobOrigin, claim: &ClaimJobs) -> Result<Claimed, Failure> {
        let is_exhausted = self.is_exhausted(claim);
        let mut job = self.read(origin)?;
        if is_exhausted {
            return Ok(Claimed::Exhausted(Box::new(job)));
        }
        job.attempts += 1;
        Ok(Claimed::Job(Box::new(job)))
    }

    fn read(self, origin: &JobOrigin) -> Result<ParseJob, Failure> {
        Ok(ParseJob {
            id: self.id,
            device_id: self.device_id,
            device: read_key(&origin.device_key)?,
            model_id: origin.model_id,
            model: read_code(&origin.model_code)?,
            chip: self.chip,
            firmware_version: self.firmware_version,
            size: read_size(self.size)?,
            sha256: read_sha256(self.sha256.as_deref())?,
            attempts: read_attempts(self.attempts)?,
        })
    }
}

/// Whether a job is due on `SQLite`.
pub(super) async fn is_due(conn: &mut Connection, now: Timestamp) -> Result<bool, Failure> {
    Ok(!due(conn, DueJobs { now: At(now), limit: 1 }).await?.is_empty())
}

/// Leases the first due job on `SQLite`, where the caller is the only writer. If it was never
/// tried, the due jobs after it are leased too, up to the first which was.
pub(super) async fn claim(
    conn: &mut Connection,
    claim: &ClaimJobs,
) -> Result<Vec<Claimed>, Failure> {
    let mut jobs =
        due(conn, DueJobs { now: At(claim.now), limit: claim.max_jobs.max(1).into() }).await?;
    let untried = jobs.iter().take_while(|(job, _)| job.attempts == 0).count();
    jobs.truncate(untried.max(1));
    let [(first, _), ..] = &*jobs else { return Ok(Vec::new()) };
    let lease = (
        coredumps::lease_owner.eq(claim.owner.as_str()),
        coredumps::lease_until.eq(At(claim.until)),
        (!first.is_exhausted(claim)).then_some(coredumps::attempts.eq(coredumps::attempts + 1)),
    );
    let ids = coredumps::table.filter(coredumps::id.eq_any(jobs.iter().map(|(job, _)| job.id)));
    on!(conn, |c| Prepared(diesel::update(ids).set(lease)).execute(c))?;
    jobs.into_iter().map(|(job, origin)| job.claimed(&origin, claim)).collect()
}

async fn due(conn: &mut Connection, jobs: DueJobs) -> Result<Vec<(JobRow, JobOrigin)>, Failure> {
    match conn {
        Connection::Sqlite(lent) => Ok(lent.start(jobs.load(SqliteDialect)).await?),
        Connection::Postgres(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::DUE;
    use crate::query_plans::plan;

    #[test]
    fn the_first_due_job_is_the_first_entry_of_an_index() {
        let steps = plan(DUE);
        assert!(steps[0].contains("USING INDEX coredumps_due"), "{steps:?}");
        assert!(
            steps.iter().all(|step| step.starts_with("SEARCH") || step.starts_with("SCAN c ")),
            "{steps:?}"
        );
    }
}
