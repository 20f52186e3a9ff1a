//! Writing the result of a job.

use coredock_domain::coredump::{ParseFault, ParseStatus};
use coredock_domain::repository::parse_jobs::{FinishJob, Finished};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::held;
use crate::connection::{Connection, on};
use crate::coredumps::retention::{self, DumpQuota};
use crate::devices::read_key;
use crate::failure::Failure;
use crate::schema::{coredumps, devices};
use crate::values::At;

/// `None` when somebody else holds the job, or nobody, or its dump is gone.
pub(super) async fn finish(
    conn: &mut Connection,
    result: &FinishJob,
) -> Result<Option<Finished>, Failure> {
    let device = coredumps::table
        .inner_join(devices::table)
        .filter(coredumps::id.eq(result.id))
        .select((devices::id, devices::key));
    let device = on!(&mut *conn, |c| device.first::<(i64, String)>(c)).optional()?;
    let Some((device_id, key)) = device else { return Ok(None) };
    conn.lock_device(device_id).await?;
    if !write_result(conn, result).await? {
        return Ok(None);
    }
    let quota = DumpQuota {
        device_id,
        device: &read_key(&key)?,
        kept_coredumps: result.kept_coredumps,
        now: result.now,
    };
    Ok(Some(Finished { pruned: retention::prune(conn, quota).await? }))
}

async fn write_result(conn: &mut Connection, result: &FinishJob) -> Result<bool, Failure> {
    let job = held(result.id, result.owner.as_str().to_owned());
    let fault = result.fault.as_ref();
    let status = if fault.is_some() { ParseStatus::Error } else { ParseStatus::Parsed };
    let now = At(result.now);
    let columns = (
        coredumps::parse_status.eq(status.as_str()),
        coredumps::parsed_output.eq(&result.parsed_output),
        coredumps::report.eq(&result.report),
        coredumps::signature.eq(&result.signature),
        coredumps::error_code.eq(fault.map(|fault| fault.code.as_str())),
        coredumps::error_message.eq(fault.map(|ParseFault { message, .. }| message)),
        result.build_id.as_ref().map(|build| coredumps::build_id.eq(build.as_str())),
        coredumps::parsed_at.eq(now),
        coredumps::updated_at.eq(now),
        coredumps::lease_owner.eq(None::<String>),
        coredumps::lease_until.eq(None::<At>),
        coredumps::next_attempt_at.eq(None::<At>),
    );
    Ok(on!(conn, |c| diesel::update(job).set(columns).execute(c))? > 0)
}
