//! Audit records (contract §3.8).

use coredock_domain::audit::{AuditAction, Change};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::audit_records;
use crate::values::{At, UtcTimestamp};

/// Most records written by one statement.
const BATCH: usize = 1_000;

/// Notes a change in the transaction that makes it.
pub(crate) async fn record(
    conn: &mut Connection,
    change: &Change,
    action: AuditAction,
    target_id: impl ToString,
) -> Result<(), Failure> {
    let actor = &change.origin.actor;
    let row = (
        audit_records::at.eq(At(change.at)),
        audit_records::actor_subject.eq(&actor.subject),
        audit_records::actor_name.eq(&actor.name),
        audit_records::actor_kind.eq(actor.kind.as_str()),
        audit_records::action.eq(action.as_str()),
        audit_records::target_type.eq(action.target_type()),
        audit_records::target_id.eq(target_id.to_string()),
        audit_records::correlation_id.eq(&change.origin.correlation_id),
        audit_records::remote_address.eq(&change.origin.remote_address),
        audit_records::outcome.eq("success"),
    );
    on!(conn, |c| diesel::insert_into(audit_records::table).values(row).execute(c))?;
    Ok(())
}

/// Notes the same change of many records, in few statements.
pub(crate) async fn record_all(
    conn: &mut Connection,
    change: &Change,
    action: AuditAction,
    target_ids: &[i64],
) -> Result<(), Failure> {
    let actor = &change.origin.actor;
    for batch in target_ids.chunks(BATCH) {
        let records: serde_json::Value = batch
            .iter()
            .map(|id| {
                serde_json::json!([
                    actor.subject,
                    actor.name,
                    actor.kind.as_str(),
                    action.as_str(),
                    action.target_type(),
                    id.to_string(),
                    change.origin.correlation_id,
                    change.origin.remote_address,
                ])
            })
            .collect();
        let insert = format!(
            "INSERT INTO audit_records (at, actor_subject, actor_name, actor_kind, action, \
             target_type, target_id, correlation_id, remote_address, outcome) \
             SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, \
             value ->> 5, value ->> 6, value ->> 7, 'success' FROM {}",
            conn.elements_of_second_bind()
        );
        let insert = diesel::sql_query(insert)
            .bind::<UtcTimestamp, _>(At(change.at))
            .bind::<Text, _>(records.to_string());
        on!(&mut *conn, |c| insert.execute(c))?;
    }
    Ok(())
}
