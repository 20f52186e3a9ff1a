//! The port of the sweep, which removes garbage and applies retention.

use std::collections::HashSet;

use async_trait::async_trait;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::upkeep::sweep_repository::{
    RetentionRules, Retired, StoreOwnership, SweepRepository,
};
use diesel::prelude::*;

use crate::Database;
use crate::artifacts::deletes::{self, MAX_BINDS};
use crate::artifacts::leases;
use crate::artifacts::references;
use crate::columns::Column;
use crate::connection::{Connection, on};
use crate::database::{INSTALLATION_ID, setting};
use crate::failure::Failure;
use crate::firmware::retention::{self, Quota};
use crate::firmware::versions;
use crate::locks;
use crate::schema::{devices, outbox, settings};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// The setting that counts armed sweeps.
const SWEEP_EPOCH: &str = "sweep_epoch";

/// The name of the lease of the process that sweeps. No lease of a publication has this name.
const SWEEP_LEASE: &str = "sweep";

#[async_trait]
impl SweepRepository for Database {
    async fn unreferenced(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<Vec<ArtifactKey>, RepositoryError> {
        self.read("sweep.unreferenced", async |conn| unreferenced(conn, keys, now).await).await
    }

    async fn queue_garbage(
        &self,
        keys: &[ArtifactKey],
        now: Timestamp,
    ) -> Result<u64, RepositoryError> {
        self.write("sweep.queue_garbage", async |conn| {
            on!(conn, |c| locks::publications(c))?;
            // A dump that is being recorded becomes visible before the references are read, or its
            // transaction finds the entry.
            let devices = devices_of(conn, keys).await?;
            on!(conn, |c| locks::devices(c, &devices))?;
            let garbage = unreferenced(conn, keys, now).await?;
            deletes::queue(conn, &garbage, now).await
        })
        .await
    }

    async fn apply_retention(&self, rules: RetentionRules) -> Result<Retired, RepositoryError> {
        let retired = self
            .write("sweep.apply_retention", async |conn| apply_retention(conn, rules).await)
            .await?;
        for (model, version) in &retired.versions {
            retention::log_pruned(model, std::slice::from_ref(version), rules.now);
        }
        Ok(retired)
    }

    async fn hold(
        &self,
        owner: &LeaseOwner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        self.write("sweep.hold", async |conn| {
            on!(conn, |c| locks::publications(c))?;
            leases::take_over(conn, SWEEP_LEASE, owner.as_str(), At(now), At(until)).await
        })
        .await
    }

    async fn release(&self, owner: &LeaseOwner) -> Result<(), RepositoryError> {
        self.write("sweep.release", async |conn| leases::release_all(conn, owner.as_str()).await)
            .await
    }

    async fn ownership(&self) -> Result<StoreOwnership, RepositoryError> {
        self.read("sweep.ownership", async |conn| {
            let column = Column("settings", "value");
            let installation_id = column.require(setting(conn, INSTALLATION_ID).await?)?;
            let epoch = match setting(conn, SWEEP_EPOCH).await? {
                Some(text) => column.require(text.parse().ok())?,
                None => 0,
            };
            Ok(StoreOwnership { installation_id, epoch })
        })
        .await
    }

    async fn arm(&self, epoch: u64, now: Timestamp) -> Result<(), RepositoryError> {
        let epoch = epoch.to_string();
        let value = (settings::value.eq(&epoch), settings::updated_at.eq(At(now)));
        self.write("sweep.arm", async |conn| {
            on!(conn, |c| diesel::insert_into(settings::table)
                .values((settings::key.eq(SWEEP_EPOCH), value))
                .on_conflict(settings::key)
                .do_update()
                .set(value)
                .execute(c))?;
            Ok(())
        })
        .await
    }
}

async fn unreferenced(
    conn: &mut Connection,
    keys: &[ArtifactKey],
    now: Timestamp,
) -> Result<Vec<ArtifactKey>, Failure> {
    let references = references::find(conn, keys, now).await?;
    let live = leases::live_scopes(conn, now).await?;
    let queued = queued(conn, keys).await?;
    let mut garbage = keys.to_vec();
    garbage.retain(|key| {
        let under_publication = key.scope().is_some_and(|scope| live.contains(&scope.to_string()));
        !references.contain(key) && !under_publication && !queued.contains(&key.to_string())
    });
    Ok(garbage)
}

/// The ids of the devices of the dumps among the keys, in ascending order.
async fn devices_of(conn: &mut Connection, keys: &[ArtifactKey]) -> Result<Vec<i64>, Failure> {
    let names: HashSet<String> = keys
        .iter()
        .filter_map(|key| match key {
            ArtifactKey::Coredump { device, .. } => Some(device.to_string()),
            _ => None,
        })
        .collect();
    let names: Vec<_> = names.into_iter().collect();
    let mut ids = Vec::new();
    for batch in names.chunks(MAX_BINDS) {
        let of_names = devices::table.filter(devices::key.eq_any(batch)).select(devices::id);
        ids.extend(on!(conn, |c| of_names.load::<i64>(c))?);
    }
    ids.sort_unstable();
    Ok(ids)
}

async fn queued(conn: &mut Connection, keys: &[ArtifactKey]) -> Result<HashSet<String>, Failure> {
    let mut queued = HashSet::new();
    for batch in keys.chunks(MAX_BINDS) {
        let batch = deletes::texts(batch);
        let waiting =
            outbox::table.filter(outbox::object_key.eq_any(&batch)).select(outbox::object_key);
        queued.extend(on!(conn, |c| waiting.load::<String>(c))?);
    }
    Ok(queued)
}

async fn apply_retention(conn: &mut Connection, rules: RetentionRules) -> Result<Retired, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let quota = Quota { max_versions: rules.max_versions, now: rules.now };
    let mut retired = Retired::default();
    for id in retention::models_beyond(conn, rules.max_versions).await? {
        let Some(model) = versions::head(conn, id).await? else { continue };
        let surplus = retention::prune(conn, &model, quota).await?;
        let pruned = surplus.pruned.into_iter().map(|version| (model.code.clone(), version));
        retired.versions.extend(pruned);
    }
    let cutoff = rules.now.before(rules.symbol_retention);
    retired.symbols = retention::retire_symbols(conn, cutoff, rules.now).await?;
    Ok(retired)
}
