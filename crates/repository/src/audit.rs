//! Audit records (contract §3.8).

use coredock_domain::audit::{AuditAction, Change};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::audit_records;
use crate::values::At;

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
