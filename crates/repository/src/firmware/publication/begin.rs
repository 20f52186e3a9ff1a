//! Taking the leases of a publication.

use coredock_domain::artifacts::key::{ArtifactKey, PublicationScope};
use coredock_domain::firmware::publication::{BeginPublication, PublicationStart};
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::artifacts::deletes;
use crate::artifacts::leases::{self, LeaseRow};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::versions;
use crate::locks;
use crate::schema::outbox;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

pub(super) async fn begin(
    conn: &mut Connection,
    request: &BeginPublication,
) -> Result<PublicationStart, Failure> {
    on!(conn, |c| locks::publications(c))?;
    leases::delete_expired(conn, request.now).await?;
    let scope = scope_of(&request.model, &request.version);
    let holder = leases::holder(conn, &scope, request.now).await?;
    if holder.is_some_and(|holder| holder != request.upload.as_str()) {
        return Ok(PublicationStart::Busy);
    }
    let mut keys: Vec<_> = versions::final_keys(&request.model, &request.version).collect();
    keys.push(ArtifactKey::Symbols { elf_sha256: request.elf_sha256 });
    if being_deleted(conn, &keys, At(request.now)).await? {
        return Ok(PublicationStart::Busy);
    }
    take_leases(conn, request, &scope).await?;
    deletes::cancel(conn, &keys).await?;
    let stored = versions::load(conn, request.model_id, &request.version).await?;
    Ok(PublicationStart::Granted { existing: stored.map(Box::new) })
}

/// The scope by which publications of one version exclude each other.
pub(super) fn scope_of(model: &ModelCode, version: &VersionText) -> PublicationScope {
    PublicationScope::Version { model: model.clone(), version: version.clone() }
}

/// Whether the delete of one of the keys has begun and may still arrive at the store.
async fn being_deleted(
    conn: &mut Connection,
    keys: &[ArtifactKey],
    now: At,
) -> Result<bool, Failure> {
    let keys = deletes::texts(keys);
    let begun = outbox::table
        .filter(outbox::object_key.eq_any(&keys))
        .filter(outbox::lease_until.gt(now))
        .select(count_star());
    Ok(on!(conn, |c| begun.get_result::<i64>(c))? > 0)
}

async fn take_leases(
    conn: &mut Connection,
    request: &BeginPublication,
    version: &PublicationScope,
) -> Result<(), Failure> {
    let owner = request.upload.as_str();
    let symbols = PublicationScope::Symbols { elf_sha256: request.elf_sha256 }.to_string();
    let staging = PublicationScope::Staging { upload: request.upload.clone() }.to_string();
    // Any number of uploads may write the same symbols: the owner in the name separates their
    // leases.
    let leases = [
        (version.to_string(), version.to_string()),
        (format!("{symbols}#{owner}"), symbols),
        (staging.clone(), staging),
    ];
    for (name, scope) in leases {
        let expires_at = At(request.until);
        leases::take(conn, LeaseRow { name, scope, owner: owner.to_owned(), expires_at }).await?;
    }
    Ok(())
}
