//! Leasing a job.

use coredock_domain::repository::parse_jobs::{ClaimJob, Claimed, ParseJob};
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use crate::connection::{Connection, on};
use crate::coredumps::row::{read_attempts, read_sha256, read_size};
use crate::devices::read_key;
use crate::failure::Failure;
use crate::prepared::Prepared;
use crate::schema::{coredumps, device_models, devices};
use crate::values::{At, UtcTimestamp};
use crate::versions::read_code;

/// The due job of the earliest turn, then of the lowest id. The state stands in the text, not in a bind:
/// the index of due jobs is of that state only.
const FIRST_DUE: &str = "SELECT id FROM coredumps WHERE parse_status = 'PENDING' \
     AND next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1) \
     ORDER BY turn_at NULLS FIRST, id LIMIT 1";

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
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

/// Where a job comes from: key of the device, row and code of its model.
pub(super) type Origin = (String, i64, String);

impl JobRow {
    fn is_exhausted(&self, claim: &ClaimJob) -> bool {
        i64::from(self.attempts) >= i64::from(claim.most_attempts)
    }

    /// The job as it is once it is leased.
    pub(super) fn claimed(self, origin: Origin, claim: &ClaimJob) -> Result<Claimed, Failure> {
        let is_exhausted = self.is_exhausted(claim);
        let mut job = self.read(origin)?;
        if is_exhausted {
            return Ok(Claimed::Exhausted(Box::new(job)));
        }
        job.attempts += 1;
        Ok(Claimed::Job(Box::new(job)))
    }

    fn read(self, (key, model_id, code): Origin) -> Result<ParseJob, Failure> {
        Ok(ParseJob {
            id: self.id,
            device_id: self.device_id,
            device: read_key(&key)?,
            model_id,
            model: read_code(&code)?,
            chip: self.chip,
            firmware_version: self.firmware_version,
            size: read_size(self.size)?,
            sha256: read_sha256(self.sha256.as_deref())?,
            attempts: read_attempts(self.attempts)?,
        })
    }
}

/// Whether there is anything to claim.
pub(super) async fn is_due(conn: &mut Connection, now: Timestamp) -> Result<bool, Failure> {
    let query = diesel::sql_query(FIRST_DUE).bind::<UtcTimestamp, _>(At(now));
    Ok(on!(conn, |c| query.get_result::<IdRow>(c)).optional()?.is_some())
}

/// Leases the first due job. The caller is the only writer.
pub(super) async fn claim(conn: &mut Connection, claim: &ClaimJob) -> Result<Claimed, Failure> {
    let query = diesel::sql_query(FIRST_DUE).bind::<UtcTimestamp, _>(At(claim.now));
    let Some(IdRow { id }) = on!(&mut *conn, |c| query.get_result::<IdRow>(c)).optional()? else {
        return Ok(Claimed::Nothing);
    };
    let query = coredumps::table
        .inner_join(devices::table.inner_join(device_models::table))
        .filter(coredumps::id.eq(id));
    let (row, origin) = on!(&mut *conn, |c| query
        .select((JobRow::as_select(), (devices::key, device_models::id, device_models::code)))
        .first::<(JobRow, Origin)>(c))?;
    let lease = (
        coredumps::lease_owner.eq(claim.owner.as_str()),
        coredumps::lease_until.eq(At(claim.until)),
        (!row.is_exhausted(claim)).then_some(coredumps::attempts.eq(coredumps::attempts + 1)),
    );
    on!(conn, |c| Prepared(diesel::update(coredumps::table.find(id)).set(lease)).execute(c))?;
    row.claimed(origin, claim)
}

#[cfg(test)]
mod tests {
    use super::FIRST_DUE;
    use crate::plans::plan;

    #[test]
    fn the_first_due_job_is_the_first_entry_of_an_index() {
        let steps = plan(FIRST_DUE);
        assert!(steps[0].contains("USING INDEX coredumps_due"), "{steps:?}");
        assert_eq!(steps.len(), 1, "nothing is sorted");
    }
}
