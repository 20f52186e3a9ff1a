//! Receiving dumps: their ids, their senders, and the commit that records them.

mod group_commit;
mod ids;
mod record;

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change, Origin};
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::DeviceKey;
use coredock_domain::intake::repository::{
    IntakeRepository, RecordCoredump, Recorded, SameBody, Sender,
};
use diesel::prelude::*;

pub(crate) use group_commit::CoredumpQueue;
pub(crate) use ids::CoredumpIds;

use crate::Database;
use crate::columns::{Column, read_code};
use crate::connection::{Connection, on};
use crate::coredumps::retention;
use crate::failure::Failure;
use crate::schema::{audit_records, coredumps, device_models, devices};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// The newest dump with this body of the device of the enclosing query, uploaded at or after
/// `since`. None if an argument is `None`.
#[diesel::dsl::auto_type]
fn newest_of_body(sha256: Option<String>, since: Option<At>) -> _ {
    coredumps::table
        .filter(coredumps::device_id.eq(devices::id))
        .filter(coredumps::sha256.eq(sha256))
        .filter(coredumps::uploaded_at.nullable().ge(since))
        .order((coredumps::uploaded_at.desc(), coredumps::id.desc()))
        .select(coredumps::id)
        .single_value()
}

/// The ids of dumps which a device delivered at an instant in a request, from the audit records.
#[diesel::dsl::auto_type]
fn records_of(at: At, device: String, correlation_id: String) -> _ {
    audit_records::table
        .filter(audit_records::at.eq(at))
        .filter(audit_records::actor_subject.eq(device))
        .filter(audit_records::correlation_id.eq(correlation_id))
        .filter(audit_records::target_type.eq("Coredump"))
        .select(audit_records::target_id)
}

/// The dump which this change has stored or counted, if it was committed.
async fn delivered(conn: &mut Connection, change: &Change) -> Result<Option<i64>, Failure> {
    let Origin { actor, correlation_id, .. } = change.origin.clone();
    let query = records_of(At(change.at), actor.subject, correlation_id);
    let id = on!(conn, |c| query.first::<String>(c)).optional()?;
    let column = Column("audit_records", "target_id");
    id.map(|id| column.require(id.parse().ok())).transpose()
}

#[async_trait]
impl IntakeRepository for Database {
    async fn reserve_id(&self) -> Result<i64, RepositoryError> {
        ids::reserve(self).await
    }

    async fn find_sender(
        &self,
        device: &DeviceKey,
        body: Option<SameBody>,
    ) -> Result<Option<Sender>, RepositoryError> {
        let sha256 = body.map(|body| body.sha256.to_string());
        let since = body.map(|body| At(body.since));
        let query = devices::table
            .inner_join(device_models::table)
            .filter(devices::key.eq(device.as_str()))
            .select((devices::id, device_models::code, newest_of_body(sha256, since)));
        self.read("coredump.find_sender", async |conn| {
            let row = on!(conn, |c| query.first::<(i64, String, Option<i64>)>(c)).optional()?;
            let sender = |(device_id, code, repeated): (i64, String, Option<i64>)| {
                Ok(Sender { device_id, model: read_code(&code)?, repeated })
            };
            row.map(sender).transpose()
        })
        .await
    }

    async fn repeat(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        let owned = change.clone();
        let repeated = self
            .write_at_once("coredump.repeat", async move |conn| {
                record::repeat(conn, id, &owned).await
            })
            .await?;
        if repeated {
            change.log(AuditAction::CoredumpUpdated, id);
        }
        Ok(repeated)
    }

    async fn record(
        &self,
        dump: RecordCoredump,
        change: &Change,
    ) -> Result<Recorded, RepositoryError> {
        let id = dump.id;
        let recorded = if self.is_sqlite() {
            group_commit::record(self, dump, change.clone()).await?
        } else {
            self.write("coredump.record", async |conn| record::record(conn, &dump, change).await)
                .await?
        };
        log_recorded(&recorded, id, change);
        Ok(recorded)
    }

    async fn find_delivery(&self, change: &Change) -> Result<Option<i64>, RepositoryError> {
        self.read("coredump.find_delivery", async |conn| delivered(conn, change).await).await
    }
}

/// Logs the changes of a committed record.
fn log_recorded(recorded: &Recorded, id: i64, change: &Change) {
    match recorded {
        Recorded::Stored { pruned } => {
            change.log(AuditAction::CoredumpCreated, id);
            retention::log_pruned(pruned, change.at);
        }
        Recorded::Repeated { id } => change.log(AuditAction::CoredumpUpdated, id),
        Recorded::DeviceDeleted => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_plans::plan_of;

    #[test]
    fn a_delivery_is_found_by_its_instant() {
        let at = At(coredock_domain::timestamp::Timestamp::from_micros(0));
        let steps = plan_of(&records_of(at, String::new(), String::new()));
        assert_eq!(steps, ["SEARCH audit_records USING INDEX audit_records_by_time (at=?)"]);
    }

    #[test]
    fn a_sender_and_its_repeated_body_are_found_by_indexes() {
        let query =
            devices::table.filter(devices::key.eq("abcd2345")).select(newest_of_body(None, None));
        let steps = plan_of(&query);
        let uses = |index: &str| steps.iter().any(|step| step.contains(index));
        assert!(
            uses("coredumps_by_digest (device_id=? AND sha256=? AND uploaded_at>?)"),
            "{steps:?}"
        );
        assert!(!uses("TEMP B-TREE"), "{steps:?}");
        assert!(!uses("SCAN d"), "{steps:?}");
    }
}
