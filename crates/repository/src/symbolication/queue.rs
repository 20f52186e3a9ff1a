//! Counting jobs.

use coredock_domain::symbolication::jobs::QueueState;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use crate::columns::{Column, read_count, read_optional};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime, UtcTimestamp};

/// Counts everything at one instant. States are literals and not binds, because `SQLite` has
/// partial indexes of single states. Pending dumps without a due time are never claimed.
const COUNTS: &str = "SELECT \
     (SELECT count(*) FROM coredumps) AS dumps, \
     (SELECT count(*) FROM coredumps WHERE parse_status = 'ERROR') AS errors, \
     count(*) AS pending, \
     count(*) FILTER (WHERE next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)) \
     AS ready, \
     count(*) FILTER (WHERE next_attempt_at > $1 AND (lease_until IS NULL OR lease_until <= $1)) \
     AS delayed, \
     count(*) FILTER (WHERE lease_until > $1) AS running, \
     min(next_attempt_at) FILTER \
     (WHERE next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)) AS oldest_ready \
     FROM coredumps WHERE parse_status = 'PENDING'";

#[derive(QueryableByName)]
struct CountsRow {
    #[diesel(sql_type = BigInt)]
    dumps: i64,
    #[diesel(sql_type = BigInt)]
    errors: i64,
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = BigInt)]
    ready: i64,
    #[diesel(sql_type = BigInt)]
    delayed: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    oldest_ready: Option<StoredTime>,
}

/// Counts the dumps by what they wait for, in one statement.
pub(super) async fn count(conn: &mut Connection, now: At) -> Result<QueueState, Failure> {
    let query = diesel::sql_query(COUNTS).bind::<UtcTimestamp, _>(now);
    let counts = on!(conn, |c| query.get_result::<CountsRow>(c))?;
    let column = Column("coredumps", "next_attempt_at");
    Ok(QueueState {
        parsed: read_count(counts.dumps - counts.errors - counts.pending),
        errors: read_count(counts.errors),
        pending: read_count(counts.pending),
        ready: read_count(counts.ready),
        delayed: read_count(counts.delayed),
        running: read_count(counts.running),
        oldest_ready: read_optional(counts.oldest_ready, column)?,
    })
}

#[cfg(test)]
mod tests {
    use super::COUNTS;
    use crate::query_plans::plan;

    #[test]
    fn states_are_counted_in_their_partial_indexes() {
        let steps = plan(COUNTS);
        let uses = |text: &str| steps.iter().any(|step| step.contains(text));
        assert!(uses("USING INDEX coredumps_due"), "{steps:?}");
        assert!(uses("USING COVERING INDEX coredumps_errors"), "{steps:?}");
        assert!(!uses("SCAN coredumps\n"), "{steps:?}");
    }
}
