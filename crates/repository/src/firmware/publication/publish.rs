//! The commit of a publication.

use std::time::Duration;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::firmware::publication::{PublishVersion, Published, PublishedObjects};
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::UploadId;
use coredock_domain::ids::VersionText;
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::max;
use diesel::prelude::*;

use super::begin::scope_of;
use crate::artifacts::deletes;
use crate::artifacts::leases;
use crate::audit;
use crate::columns::{Column, read_optional, read_staging};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::known_builds::{self, BuildOfVersion};
use crate::firmware::late_symbols::{self, PublishedBuild};
use crate::firmware::point_at;
use crate::firmware::retention::{self, Quota};
use crate::firmware::versions::{self, ModelHead, SetRow, StoredVersion};
use crate::locks;
use crate::schema::firmware_versions;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};

/// `None` if nothing can be committed: the lease was lost, or the model was deleted, or the row of
/// an unchanged set was.
pub(super) async fn publish(
    conn: &mut Connection,
    publication: &PublishVersion,
    change: &Change,
) -> Result<Option<(ModelCode, Published)>, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let Some(mut model) = versions::head(conn, publication.model_id).await? else {
        return Ok(None);
    };
    let scope = scope_of(&model.code, &publication.version);
    let holder = leases::holder(conn, &scope, change.at).await?;
    if holder.as_deref() != Some(publication.upload.as_str()) {
        return Ok(None);
    }
    let replaced = versions::find_stored(conn, model.id, &publication.version).await?;
    if replaced.is_none() && publication.objects == PublishedObjects::Unchanged {
        return Ok(None);
    }
    let version_id = write_row(conn, publication, replaced.as_ref(), change).await?;
    if let Some(replaced) = &replaced
        && publication.objects != PublishedObjects::Unchanged
    {
        let replaced_build = build_of(&model, &replaced.elf_sha256, &publication.version);
        known_builds::touch(conn, replaced_build, change.at).await?;
        queue_older_staging(conn, publication, replaced, change).await?;
    }
    let build_id = publication.facts.build_id().to_string();
    known_builds::publish(conn, build_of(&model, &build_id, &publication.version), change.at)
        .await?;
    let pointer_changed = model.current.as_deref() != Some(publication.version.as_str());
    point_at(conn, model.id, &publication.version, change).await?;
    model.current = Some(publication.version.to_string());
    // Before retention, which keeps the versions that pending dumps need.
    let published = PublishedBuild {
        model_id: model.id,
        version: publication.version.as_str(),
        elf_sha256: publication.facts.build_id(),
    };
    late_symbols::requeue(conn, published, At(change.at)).await?;
    let quota = Quota { max_versions: publication.max_versions, now: change.at };
    let surplus = retention::prune(conn, &model, quota).await?;
    deletes::cancel(conn, &referenced_keys(&model.code, publication)).await?;
    let target = format!("{}/{}", model.code, publication.version);
    audit::record(conn, change, AuditAction::FirmwareUploaded, target).await?;
    // A staged set has yet to be copied to its final keys, under the same lease.
    if publication.objects != PublishedObjects::Staged {
        leases::release_all(conn, publication.upload.as_str()).await?;
    }
    let published = Published {
        version_id,
        pointer_changed,
        pruned: surplus.pruned,
        protected: surplus.protected,
    };
    Ok(Some((model.code, published)))
}

/// The staging mark which this publication gives to the row.
fn staging_mark(publication: &PublishVersion) -> Option<&UploadId> {
    (publication.objects == PublishedObjects::Staged).then_some(&publication.upload)
}

async fn write_row(
    conn: &mut Connection,
    publication: &PublishVersion,
    replaced: Option<&StoredVersion>,
    change: &Change,
) -> Result<i64, Failure> {
    let is_replacement = replaced.is_some() && publication.objects != PublishedObjects::Unchanged;
    let uploaded_at = upload_time(conn, publication.model_id, is_replacement, change.at).await?;
    let columns = SetRow::new(&publication.facts, staging_mark(publication), uploaded_at);
    let Some(replaced) = replaced else {
        let row = (
            firmware_versions::device_model_id.eq(publication.model_id),
            firmware_versions::version.eq(publication.version.as_str()),
            firmware_versions::created_at.eq(At(change.at)),
            columns,
        );
        return Ok(on!(conn, |c| diesel::insert_into(firmware_versions::table)
            .values(row)
            .returning(firmware_versions::id)
            .get_result::<i64>(c))?);
    };
    let row = firmware_versions::table.find(replaced.id);
    if publication.objects == PublishedObjects::Unchanged {
        let uploaded_at = firmware_versions::uploaded_at.eq(At(uploaded_at));
        on!(conn, |c| diesel::update(row).set(uploaded_at).execute(c))?;
    } else {
        on!(conn, |c| diesel::update(row).set(columns).execute(c))?;
    }
    Ok(replaced.id)
}

/// When a set counts as uploaded: later than every other set of its model, so that the order of
/// commits is the order of times even if clocks or callers disagree. A set that replaces another
/// gets a later second, because clients distinguish the two by HTTP dates, which have no fractions.
async fn upload_time(
    conn: &mut Connection,
    model_id: i64,
    is_replacement: bool,
    now: Timestamp,
) -> Result<Timestamp, Failure> {
    let query = firmware_versions::table
        .filter(firmware_versions::device_model_id.eq(model_id))
        .select(max(firmware_versions::uploaded_at));
    let newest = on!(conn, |c| query.first::<Option<StoredTime>>(c))?;
    let newest = read_optional(newest, Column("firmware_versions", "uploaded_at"))?;
    let Some(newest) = newest else { return Ok(now) };
    let next_second = Timestamp::from_micros((newest.seconds() + 1) * 1_000_000);
    let earliest =
        if is_replacement { next_second } else { newest.after(Duration::from_micros(1)) };
    Ok(now.max(earliest))
}

/// Queues the deletes of the staged objects of the replaced set.
async fn queue_older_staging(
    conn: &mut Connection,
    publication: &PublishVersion,
    replaced: &StoredVersion,
    change: &Change,
) -> Result<(), Failure> {
    let older = read_staging(replaced.staging_upload_id.as_deref())?;
    if let Some(older) = older.filter(|older| Some(older) != staging_mark(publication)) {
        let keys: Vec<_> = deletes::staged_keys(&older).collect();
        deletes::queue(conn, &keys, change.at).await?;
    }
    Ok(())
}

fn build_of<'a>(
    model: &'a ModelHead,
    elf_sha256: &'a str,
    version: &'a VersionText,
) -> BuildOfVersion<'a> {
    BuildOfVersion { elf_sha256, model: model.code.as_str(), version: version.as_str() }
}

/// The objects to which the row refers from now on; queued deletes of them must be cancelled.
fn referenced_keys(model: &ModelCode, publication: &PublishVersion) -> Vec<ArtifactKey> {
    let mut keys: Vec<_> = versions::final_keys(model, &publication.version).collect();
    keys.push(ArtifactKey::Symbols { elf_sha256: publication.facts.build_id() });
    keys.extend(staging_mark(publication).into_iter().flat_map(deletes::staged_keys));
    keys
}
