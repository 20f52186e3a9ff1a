//! Retention of versions and symbols (contract §5.10).

use std::collections::HashSet;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::audit::{AuditAction, Change, Origin};
use coredock_domain::coredumps::coredump::{BuildId, ParseStatus};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::{count_star, max};
use diesel::prelude::*;

use crate::artifacts::deletes::{self, MAX_BINDS};
use crate::audit;
use crate::columns::{Column, read_digest, read_version};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::versions::{self, ModelHead, StoredVersion};
use crate::schema::{coredumps, device_models, devices, firmware_versions, known_builds};
use crate::statement::RunQueryDsl;
use crate::symbolication::indexes;
use crate::timestamps::At;

/// The number of versions to keep, and the current time.
#[derive(Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) max_versions: u32,
    pub(crate) now: Timestamp,
}

/// The versions beyond the limit: the deleted ones, and those which dumps need.
#[derive(Default)]
pub(crate) struct Surplus {
    pub(crate) pruned: Vec<VersionText>,
    pub(crate) protected: Vec<VersionText>,
}

/// Deletes the versions of a model that are beyond the limit and neither current nor needed by a
/// dump.
pub(crate) async fn prune(
    conn: &mut Connection,
    model: &ModelHead,
    quota: Quota,
) -> Result<Surplus, Failure> {
    let newest_first = firmware_versions::table
        .filter(firmware_versions::device_model_id.eq(model.id))
        .order((firmware_versions::uploaded_at.desc(), firmware_versions::id.desc()));
    let mut versions =
        on!(conn, |c| newest_first.select(StoredVersion::as_select()).load::<StoredVersion>(c))?;
    let limit = usize::try_from(quota.max_versions.max(1)).unwrap_or(usize::MAX);
    let mut beyond = versions.split_off(limit.min(versions.len()));
    beyond.retain(|row| model.current.as_deref() != Some(&row.version));
    if beyond.is_empty() {
        return Ok(Surplus::default());
    }
    let needed = needed_by_dumps(conn, model.id, &beyond).await?;
    let (protected, pruned): (Vec<_>, Vec<_>) =
        beyond.into_iter().partition(|row| needed.contains(&row.version));
    versions::delete(conn, &model.code, &pruned, quota.now).await?;
    for row in &pruned {
        let target = format!("{}/{}", model.code, row.version);
        audit::record(conn, &by_retention(quota.now), AuditAction::FirmwareDeleted, target).await?;
    }
    let texts = |versions: Vec<StoredVersion>| {
        versions.iter().map(|row| read_version(&row.version)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Surplus { pruned: texts(pruned)?, protected: texts(protected)? })
}

/// Logs the deletions of a committed [`prune`].
pub(crate) fn log_pruned(model: &ModelCode, pruned: &[VersionText], now: Timestamp) {
    for version in pruned {
        by_retention(now).log(AuditAction::FirmwareDeleted, format_args!("{model}/{version}"));
    }
}

fn by_retention(now: Timestamp) -> Change {
    Change { at: now, origin: Origin::system("retention") }
}

/// Those of the versions of a model which pending dumps of its devices name.
async fn needed_by_dumps(
    conn: &mut Connection,
    model_id: i64,
    versions: &[StoredVersion],
) -> Result<HashSet<String>, Failure> {
    let mut needed = HashSet::new();
    for batch in versions.chunks(MAX_BINDS) {
        let pending = coredumps::table
            .inner_join(devices::table)
            .filter(coredumps::firmware_version.eq_any(batch.iter().map(|row| &row.version)))
            .filter(coredumps::parse_status.eq(ParseStatus::Pending.as_str()))
            .filter(devices::device_model_id.eq(model_id))
            .select(coredumps::firmware_version)
            .distinct();
        needed.extend(on!(conn, |c| pending.load::<String>(c))?);
    }
    Ok(needed)
}

/// The models with more versions than are kept.
pub(crate) async fn models_beyond(
    conn: &mut Connection,
    max_versions: u32,
) -> Result<Vec<i64>, Failure> {
    let beyond = firmware_versions::table
        .group_by(firmware_versions::device_model_id)
        .having(count_star().gt(i64::from(max_versions.max(1))))
        .select(firmware_versions::device_model_id);
    Ok(on!(conn, |c| beyond.load::<i64>(c))?)
}

/// Deletes the rows of builds that no version or dump has needed since `cutoff`, and queues the
/// deletes of their symbol files and indexes.
pub(crate) async fn retire_symbols(
    conn: &mut Connection,
    cutoff: Timestamp,
    now: Timestamp,
) -> Result<Vec<Sha256Digest>, Failure> {
    let stale = known_builds::table
        .group_by(known_builds::elf_sha256)
        .having(max(known_builds::last_referenced_at).lt(At(cutoff)))
        .select(known_builds::elf_sha256);
    let mut stale = on!(conn, |c| stale.load::<String>(c))?;
    if stale.is_empty() {
        return Ok(Vec::new());
    }
    let published = builds_of_versions(conn, &stale).await?;
    let wanted = builds_of_unparsed_dumps(conn).await?;
    let unread = builds_of_unread_dumps(conn, &stale).await?;
    stale.retain(|build| {
        !published.contains(build)
            && !unread.contains(build)
            && !wanted.iter().any(|prefix| build.starts_with(prefix))
    });
    let mut digests = Vec::new();
    for batch in stale.chunks(MAX_BINDS) {
        let retired = known_builds::table.filter(known_builds::elf_sha256.eq_any(batch));
        on!(conn, |c| diesel::delete(retired).execute(c))?;
        for build in batch {
            digests.push(read_digest(build, Column("known_builds", "elf_sha256"))?);
        }
    }
    let mut keys = indexes::forget_builds(conn, &stale).await?;
    keys.extend(digests.iter().map(|&elf_sha256| ArtifactKey::Symbols { elf_sha256 }));
    deletes::queue(conn, &keys, now).await?;
    Ok(digests)
}

async fn builds_of_versions(
    conn: &mut Connection,
    builds: &[String],
) -> Result<HashSet<String>, Failure> {
    let mut published = HashSet::new();
    for batch in builds.chunks(MAX_BINDS) {
        let of_versions = firmware_versions::table
            .filter(firmware_versions::elf_sha256.eq_any(batch))
            .select(firmware_versions::elf_sha256);
        published.extend(on!(conn, |c| of_versions.load::<String>(c))?);
    }
    Ok(published)
}

/// Those of the builds that were published for a model which has pending dumps without a build id:
/// the build id of a wrapped dump is known only when it is parsed.
async fn builds_of_unread_dumps(
    conn: &mut Connection,
    builds: &[String],
) -> Result<HashSet<String>, Failure> {
    let models = coredumps::table
        .inner_join(devices::table.inner_join(device_models::table))
        .filter(coredumps::parse_status.eq(ParseStatus::Pending.as_str()))
        .filter(coredumps::build_id.is_null())
        .select(device_models::code)
        .distinct();
    let models = on!(conn, |c| models.load::<String>(c))?;
    let mut unread = HashSet::new();
    for batch in builds.chunks(MAX_BINDS) {
        let published = known_builds::table
            .filter(known_builds::elf_sha256.eq_any(batch))
            .select((known_builds::elf_sha256, known_builds::model_code));
        let published = on!(conn, |c| published.load::<(String, String)>(c))?;
        let of_models = published.into_iter().filter(|(_, model)| models.contains(model));
        unread.extend(of_models.map(|(build, _)| build));
    }
    Ok(unread)
}

/// The build ids of dumps without a report, without those too short to identify a build.
async fn builds_of_unparsed_dumps(conn: &mut Connection) -> Result<Vec<String>, Failure> {
    let unparsed = coredumps::table
        .filter(coredumps::parse_status.ne(ParseStatus::Parsed.as_str()))
        .filter(coredumps::build_id.is_not_null())
        .select(coredumps::build_id.assume_not_null())
        .distinct();
    let mut prefixes = on!(conn, |c| unparsed.load::<String>(c))?;
    prefixes.retain(|prefix| prefix.len() >= BuildId::MIN_DIGITS);
    Ok(prefixes)
}
