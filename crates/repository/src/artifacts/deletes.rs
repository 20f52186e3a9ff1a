//! Queued deletes of objects (I4).

use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_domain::ids::UploadId;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::outbox;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, UtcTimestamp};

/// The largest number of values bound in one statement.
pub(crate) const MAX_BINDS: usize = 500;

/// The largest number of entries queued by one statement.
const MAX_BATCH: usize = 1_000;

/// Queues deletes; the entries of keys that are queued already do not change. Returns the number of
/// new entries.
pub(crate) async fn queue(
    conn: &mut Connection,
    keys: &[ArtifactKey],
    now: Timestamp,
) -> Result<u64, Failure> {
    let mut queued = 0;
    for batch in keys.chunks(MAX_BATCH) {
        let entries: serde_json::Value = batch
            .iter()
            .map(|key| {
                let scope = key.scope().map(|scope| scope.to_string());
                serde_json::json!([key.to_string(), scope])
            })
            .collect();
        let entries = entries.to_string();
        // `WHERE true` keeps SQLite from reading ON CONFLICT as part of a join.
        let insert = format!(
            "INSERT INTO outbox (object_key, scope, queued_at, next_attempt_at, attempts) \
             SELECT value ->> 0, value ->> 1, $1, $1, 0 FROM {} WHERE true \
             ON CONFLICT (object_key) DO NOTHING",
            conn.elements_of_second_bind()
        );
        let insert =
            diesel::sql_query(insert).bind::<UtcTimestamp, _>(At(now)).bind::<Text, _>(entries);
        queued += on!(conn, |c| insert.execute(c))? as u64;
    }
    Ok(queued)
}

/// Cancels the queued deletes of objects that are about to be written or referred to (I5).
pub(crate) async fn cancel(conn: &mut Connection, keys: &[ArtifactKey]) -> Result<(), Failure> {
    for batch in keys.chunks(MAX_BINDS) {
        let batch = texts(batch);
        on!(conn, |c| diesel::delete(outbox::table.filter(outbox::object_key.eq_any(&batch)))
            .execute(c))?;
    }
    Ok(())
}

/// Cancels the queued delete of an object that was written already and is about to be referred to;
/// `false` when the delete has begun, so that the object may disappear at any moment.
pub(crate) async fn cancel_unless_begun(
    conn: &mut Connection,
    key: &ArtifactKey,
    now: Timestamp,
) -> Result<bool, Failure> {
    let of_key = outbox::table.filter(outbox::object_key.eq(key.to_string()));
    let waiting =
        of_key.clone().filter(outbox::lease_until.is_null().or(outbox::lease_until.le(At(now))));
    on!(conn, |c| diesel::delete(waiting).execute(c))?;
    let begun = of_key.select(outbox::id);
    Ok(on!(conn, |c| begun.first::<i64>(c)).optional()?.is_none())
}

/// The keys as the table stores them.
pub(crate) fn texts(keys: &[ArtifactKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// The staged objects of an upload.
pub(crate) fn staged_keys(upload: &UploadId) -> impl Iterator<Item = ArtifactKey> {
    ArtifactName::ALL
        .into_iter()
        .map(|artifact| ArtifactKey::Staging { upload: upload.clone(), artifact })
}
