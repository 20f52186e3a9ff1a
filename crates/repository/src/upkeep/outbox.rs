//! The port to queued deletes.

use std::collections::HashSet;

use async_trait::async_trait;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::upkeep::outbox::{Backlog, ClaimDeletes, OutboxRepository, QueuedDelete};
use diesel::dsl::{count_star, exists, min, not};
use diesel::prelude::*;

use crate::Database;
use crate::artifacts::deletes::MAX_BINDS;
use crate::artifacts::references;
use crate::columns::{Column, read_optional};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::locks;
use crate::schema::{leases, outbox};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};

#[derive(Queryable, Selectable)]
#[diesel(table_name = outbox)]
struct EntryRow {
    id: i64,
    object_key: String,
    attempts: i32,
}

impl EntryRow {
    fn read(self) -> Result<QueuedDelete, Failure> {
        Ok(QueuedDelete {
            id: self.id,
            key: Column("outbox", "object_key").require(self.object_key.parse().ok())?,
            attempts: Column("outbox", "attempts").require(self.attempts.try_into().ok())?,
        })
    }
}

#[async_trait]
impl OutboxRepository for Database {
    async fn claim(&self, claim: ClaimDeletes) -> Result<Vec<QueuedDelete>, RepositoryError> {
        // An idle worker polls every second and should not write each time.
        if self.read("outbox.due", async |conn| due(conn, &claim).await).await?.is_empty() {
            return Ok(Vec::new());
        }
        let (claimed, cancelled) = self
            .write("outbox.claim", async |conn| {
                on!(conn, |c| locks::publications(c))?;
                let mut leased = due(conn, &claim).await?;
                // Leased before the references are read: a dump that is being recorded has either
                // removed its entry before, or finds it leased and is not recorded.
                let ids = lease(conn, &leased, &claim).await?;
                leased.retain(|entry| ids.contains(&entry.id));
                let keys: Vec<ArtifactKey> = leased.iter().map(|entry| entry.key.clone()).collect();
                let references = references::find(conn, &keys, claim.now).await?;
                let (cancelled, claimed): (Vec<_>, Vec<_>) =
                    leased.into_iter().partition(|entry| references.contain(&entry.key));
                remove(conn, &cancelled).await?;
                Ok((claimed, cancelled))
            })
            .await?;
        for entry in cancelled {
            tracing::warn!(
                key = %entry.key,
                "queued delete of {} cancelled: a row refers to the object", entry.key
            );
        }
        Ok(claimed)
    }

    async fn finish(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError> {
        self.write("outbox.finish", async |conn| {
            on!(conn, |c| locks::publications(c))?;
            for batch in ids.chunks(MAX_BINDS) {
                let done = leased_by(owner, batch);
                on!(conn, |c| diesel::delete(done).execute(c))?;
            }
            Ok(())
        })
        .await
    }

    async fn retry(
        &self,
        owner: &LeaseOwner,
        ids: &[i64],
        next_attempt_at: Timestamp,
    ) -> Result<(), RepositoryError> {
        self.write("outbox.retry", async |conn| {
            let again = (
                outbox::next_attempt_at.eq(At(next_attempt_at)),
                outbox::attempts.eq(outbox::attempts + 1),
                outbox::lease_owner.eq(None::<String>),
                outbox::lease_until.eq(None::<At>),
            );
            on!(conn, |c| locks::publications(c))?;
            for batch in ids.chunks(MAX_BINDS) {
                let failed = leased_by(owner, batch);
                on!(conn, |c| diesel::update(failed).set(again.clone()).execute(c))?;
            }
            Ok(())
        })
        .await
    }

    async fn leave(&self, owner: &LeaseOwner, ids: &[i64]) -> Result<(), RepositoryError> {
        self.write("outbox.leave", async |conn| {
            let attempts = outbox::attempts.eq(outbox::attempts + 1);
            on!(conn, |c| locks::publications(c))?;
            for batch in ids.chunks(MAX_BINDS) {
                let open = leased_by(owner, batch);
                on!(conn, |c| diesel::update(open).set(attempts).execute(c))?;
            }
            Ok(())
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog, RepositoryError> {
        let query = outbox::table.select((count_star(), min(outbox::queued_at)));
        self.read("outbox.backlog", async |conn| {
            let (pending, oldest) = on!(conn, |c| query.first::<(i64, Option<StoredTime>)>(c))?;
            Ok(Backlog { pending, oldest: read_optional(oldest, Column("outbox", "queued_at"))? })
        })
        .await
    }
}

/// Of these entries, those of which `owner` holds the lease.
#[diesel::dsl::auto_type]
fn leased_by<'a>(owner: &'a LeaseOwner, ids: &'a [i64]) -> _ {
    let owner: &'a str = owner.as_str();
    outbox::table.filter(outbox::id.eq_any(ids)).filter(outbox::lease_owner.eq(owner))
}

/// Due entries without a live lease whose keys are not under publication.
async fn due(conn: &mut Connection, claim: &ClaimDeletes) -> Result<Vec<QueuedDelete>, Failure> {
    let now = At(claim.now);
    let under_publication = leases::table
        .filter(leases::scope.nullable().eq(outbox::scope))
        .filter(leases::expires_at.gt(now));
    let query = outbox::table
        .filter(outbox::next_attempt_at.le(now))
        .filter(outbox::lease_until.is_null().or(outbox::lease_until.le(now)))
        .filter(not(exists(under_publication)))
        .order(outbox::id)
        .limit(claim.limit);
    let rows = on!(conn, |c| query.select(EntryRow::as_select()).load::<EntryRow>(c))?;
    rows.into_iter().map(EntryRow::read).collect()
}

async fn remove(conn: &mut Connection, entries: &[QueuedDelete]) -> Result<(), Failure> {
    for batch in entries.chunks(MAX_BINDS) {
        let ids = batch.iter().map(|entry| entry.id);
        let batch = outbox::table.filter(outbox::id.eq_any(ids));
        on!(conn, |c| diesel::delete(batch).execute(c))?;
    }
    Ok(())
}

/// Returns the ids of the entries that still exist.
async fn lease(
    conn: &mut Connection,
    entries: &[QueuedDelete],
    claim: &ClaimDeletes,
) -> Result<HashSet<i64>, Failure> {
    let mut leased = HashSet::new();
    for batch in entries.chunks(MAX_BINDS) {
        let ids = batch.iter().map(|entry| entry.id);
        let batch = outbox::table.filter(outbox::id.eq_any(ids));
        let lease =
            (outbox::lease_owner.eq(claim.owner.as_str()), outbox::lease_until.eq(At(claim.until)));
        leased.extend(on!(conn, |c| diesel::update(batch)
            .set(lease)
            .returning(outbox::id)
            .get_results::<i64>(c))?);
    }
    Ok(leased)
}
