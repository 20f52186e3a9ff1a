//! The rows of the running PostgreSQL database, read without a proxy.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use coredock_testkit::database::Database;

/// The remaining work by kind; a kind without work yields no row.
const REMAINING_WORK: &str = "\
    SELECT 'queued deletes: ' || count(*) FROM outbox HAVING count(*) > 0 \
    UNION ALL SELECT 'not settled: ' || count(*) FROM firmware_versions \
    WHERE staging_upload_id IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'pending dumps: ' || count(*) FROM coredumps \
    WHERE parse_status = 'PENDING' OR lease_owner IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'leases: ' || string_agg(name, ', ') FROM leases \
    WHERE expires_at > now() AND name <> 'sweep' HAVING count(*) > 0";

/// Makes postponed work due now.
const MAKE_DUE: &str = "\
    UPDATE outbox SET next_attempt_at = now() \
    WHERE lease_owner IS NULL AND next_attempt_at > now(); \
    UPDATE coredumps SET next_attempt_at = now() \
    WHERE lease_owner IS NULL AND next_attempt_at > now();";

/// Owners of leases that last longer than a trial.
const OWNERS: &str = "SELECT owner FROM leases WHERE expires_at > now() \
    UNION SELECT lease_owner FROM outbox WHERE lease_until > now()";

const DEADLOCKS: &str = "SELECT deadlocks || ' deadlocks' FROM pg_stat_database \
    WHERE datname = current_database() AND deadlocks > 0";

/// Audit records of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AuditCounts {
    pub(super) total: u64,
    /// Different actions and targets among them.
    pub(super) distinct: u64,
}

/// The remaining work, as texts.
pub(super) fn remaining_work(database: &Database) -> Result<Vec<String>> {
    database.texts(REMAINING_WORK)
}

pub(super) fn make_due(database: &Database) -> Result<()> {
    database.execute(MAKE_DUE)
}

/// Owners of leases of publications, deletes and the sweep.
pub(super) fn lease_owners(database: &Database) -> Result<Vec<String>> {
    database.texts(OWNERS)
}

/// The records of each request whose id begins with `name`.
pub(super) fn audited(database: &Database, name: &str) -> Result<BTreeMap<String, AuditCounts>> {
    let query = format!(
        "SELECT correlation_id || ' ' || count(*) || ' ' || \
         count(DISTINCT action || ' ' || target_id) FROM audit_records \
         WHERE starts_with(correlation_id, '{name}-') GROUP BY correlation_id"
    );
    let mut audited = BTreeMap::new();
    for line in database.texts(&query)? {
        let mut words = line.split(' ');
        let mut word = || words.next().context("a line of audit records has too few columns");
        let id = word()?.to_owned();
        audited.insert(id, AuditCounts { total: word()?.parse()?, distinct: word()?.parse()? });
    }
    Ok(audited)
}

/// Deadlocks since the server started.
pub(super) fn deadlocks(database: &Database) -> Result<Vec<String>> {
    database.texts(DEADLOCKS)
}
