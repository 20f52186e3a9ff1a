//! Writing the result of a job.

use coredock_domain::coredumps::coredump::{ParseFault, ParseStatus};
use coredock_domain::symbolication::jobs::{FinishJob, Finished, MissingElf, PostponeJob};
use diesel::dsl::case_when;
use diesel::prelude::*;

use super::builds;
use super::jobs::leased_by;
use crate::connection::{Connection, on};
use crate::coredumps::retention::{self, DumpQuota};
use crate::coredumps::row::PendingAgain;
use crate::failure::Failure;
use crate::locks;
use crate::prepared::Prepared;
use crate::schema::coredumps;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// `None` if the owner has lost the lease of the job, or the dump was deleted.
pub(super) async fn finish(
    conn: &mut Connection,
    result: &FinishJob,
) -> Result<Option<Finished>, Failure> {
    let requeued = elf_has_arrived(conn, result.missing_elf.as_ref()).await?;
    let quota = DumpQuota {
        device_id: result.device_id,
        device: &result.device,
        max_coredumps: result.max_coredumps,
        now: result.now,
    };
    let (written, beyond) = if requeued {
        requeue(conn, result, quota).await?
    } else {
        write_result(conn, result, quota).await?
    };
    if written == 0 {
        return Ok(None);
    }
    let pruned = retention::prune_found(conn, quota, &beyond).await?;
    Ok(Some(Finished { pruned, requeued }))
}

/// `None` if the owner has lost the lease of the job, or the dump was deleted.
pub(super) async fn postpone(
    conn: &mut Connection,
    postponement: &PostponeJob,
) -> Result<Option<Finished>, Failure> {
    on!(conn, |c| locks::device(c, postponement.device_id))?;
    let job = leased_by(postponement.id, postponement.owner.as_str().to_owned());
    let uncounted = case_when(coredumps::attempts.gt(0), coredumps::attempts - 1).otherwise(0);
    let given_back = (
        coredumps::lease_owner.eq(None::<String>),
        coredumps::lease_until.eq(None::<At>),
        coredumps::next_attempt_at.eq(At(postponement.due)),
        (!postponement.counts).then_some(coredumps::attempts.eq(uncounted)),
    );
    if on!(conn, |c| Prepared(diesel::update(job).set(given_back)).execute(c))? == 0 {
        return Ok(None);
    }
    let quota = DumpQuota {
        device_id: postponement.device_id,
        device: &postponement.device,
        max_coredumps: postponement.max_coredumps,
        now: postponement.now,
    };
    let pruned = retention::prune(conn, quota).await?;
    Ok(Some(Finished { pruned, requeued: false }))
}

/// Whether a missing ELF has been published since the job looked for it. The lock makes
/// publications wait: each of them either sees the `ERROR` of this result, or is seen here.
async fn elf_has_arrived(
    conn: &mut Connection,
    missing: Option<&MissingElf>,
) -> Result<bool, Failure> {
    let Some(missing) = missing else { return Ok(false) };
    on!(conn, |c| locks::publications(c))?;
    let stored = builds::find(conn, &missing.wanted).await?;
    Ok(stored.iter().any(|build| !missing.tried.contains(&build.elf_sha256)))
}

/// How many rows were written, and the dumps beyond the quota.
type Written = (usize, Vec<i64>);

async fn requeue(
    conn: &mut Connection,
    result: &FinishJob,
    quota: DumpQuota<'_>,
) -> Result<Written, Failure> {
    let job = leased_by(result.id, result.owner.as_str().to_owned());
    let build_id = result.build_id.as_ref().map(|build| coredumps::build_id.eq(build.as_str()));
    let again = (PendingAgain::due(At(result.now)), build_id);
    let beyond = retention::beyond(quota.device_id, quota.limit());
    let ((), written, beyond) = on!(conn, |c| (
        locks::device(c, quota.device_id),
        Prepared(diesel::update(job).set(again)).execute(c),
        beyond.load::<i64>(c)
    ))?;
    Ok((written, beyond))
}

async fn write_result(
    conn: &mut Connection,
    result: &FinishJob,
    quota: DumpQuota<'_>,
) -> Result<Written, Failure> {
    let job = leased_by(result.id, result.owner.as_str().to_owned());
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
    let beyond = retention::beyond(quota.device_id, quota.limit());
    let ((), written, beyond) = on!(conn, |c| (
        locks::device(c, quota.device_id),
        Prepared(diesel::update(job).set(columns)).execute(c),
        beyond.load::<i64>(c)
    ))?;
    Ok((written, beyond))
}
