//! The rows of one server on `SQLite`, dead or alive.

use std::path::{Path, PathBuf};

use anyhow::Result;
use coredock_testkit::database::Database;
use coredock_testkit::invariants::Rows;

/// An end of leases in the past, as if their owner had died long ago.
const LONG_AGO: &str = "2000-01-01T00:00:00.000000Z";

/// Which leases are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leases {
    /// The leases of publications, deletes and parses.
    All,
    /// The leases of parses remain until they expire.
    AllButParses,
}

/// The rows that a killed server left, and the owners of leases. A copy is read, so that the server
/// itself recovers its journal.
pub(crate) fn read_copy(database: &Path, scratch: &Path) -> Result<(Rows, Vec<String>)> {
    let directory = tempfile::TempDir::with_prefix_in("copy-", scratch)?;
    let copy = directory.path().join("copy.db");
    std::fs::copy(database, &copy)?;
    let journal = suffixed(database, "-wal");
    if journal.exists() {
        std::fs::copy(journal, suffixed(&copy, "-wal"))?;
    }
    let database = Database::of_file(&copy)?;
    Ok((Rows::read(&database)?, lease_owners(&database)?))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn lease_owners(database: &Database) -> Result<Vec<String>> {
    let owners = "SELECT lease_owner AS value FROM outbox WHERE lease_owner IS NOT NULL \
                  UNION SELECT owner FROM leases UNION \
                  SELECT lease_owner FROM coredumps WHERE lease_owner IS NOT NULL";
    database.texts(owners)
}

/// Ends leases of `owners`.
pub(crate) fn end_leases(database: &Database, owners: &[String], which: Leases) -> Result<()> {
    let owners = owners.iter().map(|owner| format!("'{owner}'")).collect::<Vec<_>>().join(",");
    let expire = |table: &str| {
        format!("UPDATE {table} SET lease_until = '{LONG_AGO}' WHERE lease_owner IN ({owners});")
    };
    let leases = format!("UPDATE leases SET expires_at = '{LONG_AGO}' WHERE owner IN ({owners});");
    database.execute(&(expire("outbox") + &leases))?;
    match which {
        Leases::All => database.execute(&expire("coredumps")),
        Leases::AllButParses => Ok(()),
    }
}

/// Whether deletes, settlements or parses remain.
pub(crate) fn has_work(database: &Database) -> Result<bool> {
    Ok(database.count("outbox", "true")? > 0
        || database.count("firmware_versions", "staging_upload_id IS NOT NULL")? > 0
        || database.count("coredumps", "parse_status = 'PENDING'")? > 0)
}
