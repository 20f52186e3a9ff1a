//! The rows of a PostgreSQL database that runs, read past every proxy.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use coredock_testkit::database::Database;

/// What still has to be done, by kind; kinds without work yield no row.
const UNDONE: &str = "\
    SELECT 'queued deletes: ' || count(*) FROM outbox HAVING count(*) > 0 \
    UNION ALL SELECT 'not settled: ' || count(*) FROM firmware_versions \
    WHERE staging_upload_id IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'pending dumps: ' || count(*) FROM coredumps \
    WHERE parse_status = 'PENDING' OR lease_owner IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'leases: ' || string_agg(name, ', ') FROM leases \
    WHERE expires_at > now() AND name <> 'sweep' HAVING count(*) > 0";

/// Makes what was postponed due now.
const HURRY: &str = "\
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
pub(super) struct Records {
    pub(super) records: u64,
    /// Different actions and targets among them.
    pub(super) different: u64,
}

/// What has not been done yet, in words.
pub(super) fn undone(database: &Database) -> Result<Vec<String>> {
    database.texts(UNDONE)
}

/// Makes work that waits for its next attempt due now.
pub(super) fn hurry(database: &Database) -> Result<()> {
    database.execute(HURRY)
}

/// Owners of leases of publications, deletes and the sweep.
pub(super) fn lease_owners(database: &Database) -> Result<Vec<String>> {
    database.texts(OWNERS)
}

/// The records of each request whose id begins with `name`.
pub(super) fn audited(database: &Database, name: &str) -> Result<BTreeMap<String, Records>> {
    let query = format!(
        "SELECT correlation_id || ' ' || count(*) || ' ' || \
         count(DISTINCT action || ' ' || target_id) FROM audit_records \
         WHERE starts_with(correlation_id, '{name}-') GROUP BY correlation_id"
    );
    let mut audited = BTreeMap::new();
    for line in database.texts(&query)? {
        let mut words = line.split(' ');
        let mut word = || words.next().context("an audit line lacks columns");
        let id = word()?.to_owned();
        audited.insert(id, Records { records: word()?.parse()?, different: word()?.parse()? });
    }
    Ok(audited)
}

/// Deadlocks since the server started.
pub(super) fn deadlocks(database: &Database) -> Result<Vec<String>> {
    database.texts(DEADLOCKS)
}
