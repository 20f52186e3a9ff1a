//! Audit records (contract §3.8).

use coredock_domain::audit::{AuditAction, Change};
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::audit_records;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, UtcTimestamp};

/// The largest number of records written by one statement.
const MAX_BATCH: usize = 1_000;

/// The audit record of a change of one row.
#[derive(Insertable)]
#[diesel(table_name = audit_records, treat_none_as_default_value = false)]
pub(crate) struct AuditRow<'a> {
    at: At,
    actor_subject: &'a str,
    actor_name: Option<String>,
    actor_kind: &'static str,
    action: &'static str,
    target_type: &'static str,
    target_id: String,
    correlation_id: &'a str,
    remote_address: Option<String>,
    outcome: &'static str,
}

impl<'a> AuditRow<'a> {
    pub(crate) fn new(change: &'a Change, action: AuditAction, target_id: String) -> Self {
        let actor = &change.origin.actor;
        Self {
            at: At(change.at),
            actor_subject: &actor.subject,
            actor_name: actor.name.clone(),
            actor_kind: actor.kind.as_str(),
            action: action.as_str(),
            target_type: action.target_type(),
            target_id,
            correlation_id: &change.origin.correlation_id,
            remote_address: change.origin.remote_address.clone(),
            outcome: "success",
        }
    }
}

/// Records a change in the transaction that makes it.
pub(crate) async fn record(
    conn: &mut Connection,
    change: &Change,
    action: AuditAction,
    target_id: impl ToString,
) -> Result<(), Failure> {
    let row = AuditRow::new(change, action, target_id.to_string());
    on!(conn, |c| diesel::insert_into(audit_records::table).values(row).execute(c))?;
    Ok(())
}

/// Records the same change of many rows, in few statements.
pub(crate) async fn record_all(
    conn: &mut Connection,
    change: &Change,
    action: AuditAction,
    target_ids: &[i64],
) -> Result<(), Failure> {
    let actor = &change.origin.actor;
    for batch in target_ids.chunks(MAX_BATCH) {
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
        on!(conn, |c| insert.execute(c))?;
    }
    Ok(())
}
