//! The rows of a PostgreSQL database, read past every proxy.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use coredock_testkit::postgres::{execute, texts};

use super::super::rows::{DumpRow, Rows, VersionRow};

/// A time as text that sorts.
macro_rules! time {
    ($column:literal) => {
        concat!("to_char(", $column, " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    };
}

/// All rows in one statement, which sees one moment: a letter, then the columns.
const ROWS: &str = concat!(
    "SELECT 'd ' || id || ' ' || device_id || ' ' || chip || ' ' || size || ' ' || ",
    "coalesce(sha256, '-') || ' ' || parse_status || ' ' || coalesce(error_code, '-') || ' ' || ",
    "attempts || ' ' || occurrences || ' ' || ",
    time!("uploaded_at"),
    " || ' ' || (lease_until IS NOT NULL)::int || ' ' || firmware_version FROM coredumps ",
    "UNION ALL SELECT 'v ' || id || ' ' || device_model_id || ' ' || ",
    time!("uploaded_at"),
    " || ' ' || coalesce(staging_upload_id, '-') || ' ' || elf_size || ' ' || elf_sha256 || ' ' ",
    "|| map_size || ' ' || map_sha256 || ' ' || sdkconfig_size || ' ' || sdkconfig_sha256 || ' ' ",
    "|| version_json_size || ' ' || version_json_sha256 || ' ' || bin_size || ' ' || bin_sha256 ",
    "|| ' ' || version FROM firmware_versions ",
    "UNION ALL SELECT 'p ' || id || ' ' || coalesce(firmware_version, '') FROM device_models ",
    "UNION ALL SELECT 'o ' || object_key FROM outbox ",
    "UNION ALL SELECT 'b ' || elf_sha256 FROM known_builds"
);

/// What still has to be done, by kind; nothing that is done counts.
const UNDONE: &str = "\
    SELECT 'queued deletes: ' || count(*) FROM outbox HAVING count(*) > 0 \
    UNION ALL SELECT 'not settled: ' || count(*) FROM firmware_versions \
    WHERE staging_upload_id IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'pending dumps: ' || count(*) FROM coredumps \
    WHERE parse_status = 'PENDING' OR lease_owner IS NOT NULL HAVING count(*) > 0 \
    UNION ALL SELECT 'leases: ' || string_agg(name, ', ') FROM leases \
    WHERE expires_at > now() AND name <> 'sweep' HAVING count(*) > 0";

/// Lets what was put off be tried now.
const HURRY: &str = "\
    UPDATE outbox SET next_attempt_at = now() \
    WHERE lease_owner IS NULL AND next_attempt_at > now(); \
    UPDATE coredumps SET next_attempt_at = now() \
    WHERE lease_owner IS NULL AND next_attempt_at > now();";

/// Who holds a lease that is longer than a trial.
const OWNERS: &str = "SELECT owner FROM leases WHERE expires_at > now() \
    UNION SELECT lease_owner FROM outbox WHERE lease_until > now()";

/// A database of a server that runs.
pub(super) struct PostgresDatabase {
    pub(super) url: String,
}

impl PostgresDatabase {
    /// Reads everything, at one moment.
    pub(super) fn read(&self) -> Result<Rows> {
        let mut rows = Rows::default();
        for line in texts(&self.url, ROWS) {
            match line.split_once(' ').context("a line without columns")? {
                ("d", dump) => rows.dumps.push(DumpRow::parse(dump)?),
                ("v", version) => rows.versions.push(VersionRow::parse(version)?),
                ("p", pointer) => {
                    let (id, version) = pointer.split_once(' ').context("a model without id")?;
                    let version = (!version.is_empty()).then(|| version.to_owned());
                    rows.pointers.push((id.parse()?, version));
                }
                ("o", key) => rows.outbox.push(key.to_owned()),
                ("b", build) => rows.builds.push(build.to_owned()),
                _ => bail!("an unknown line: {line}"),
            }
        }
        rows.dumps.sort_by_key(|dump| dump.id);
        rows.versions.sort_by_key(|version| version.id);
        Ok(rows)
    }

    /// What has not been done yet, in words.
    pub(super) fn undone(&self) -> Vec<String> {
        texts(&self.url, UNDONE)
    }

    /// Lets what waits for its next attempt be tried now.
    pub(super) fn hurry(&self) {
        execute(&self.url, HURRY);
    }

    /// Who holds a publication, a delete or the sweep.
    pub(super) fn lease_owners(&self) -> Vec<String> {
        texts(&self.url, OWNERS)
    }

    /// Ends the leases of `owners`, as if they had been dead for long.
    pub(super) fn end_leases(&self, owners: &[String]) {
        let owners = owners.iter().map(|owner| format!("'{owner}'")).collect::<Vec<_>>().join(",");
        execute(
            &self.url,
            &format!(
                "UPDATE leases SET expires_at = '2000-01-01Z' WHERE owner IN ({owners}); \
                 UPDATE outbox SET lease_until = '2000-01-01Z' WHERE lease_owner IN ({owners});"
            ),
        );
    }

    /// How often each request whose id begins with `name` is in the audit trail, and how many
    /// things it did there.
    pub(super) fn audited(&self, name: &str) -> Result<BTreeMap<String, (u64, u64)>> {
        let query = format!(
            "SELECT correlation_id || ' ' || count(*) || ' ' || \
             count(DISTINCT action || ' ' || target_id) FROM audit_records \
             WHERE starts_with(correlation_id, '{name}-') GROUP BY correlation_id"
        );
        let mut audited = BTreeMap::new();
        for line in texts(&self.url, &query) {
            let mut words = line.split(' ');
            let mut word = || words.next().context("an audit line lacks columns");
            audited.insert(word()?.to_owned(), (word()?.parse()?, word()?.parse()?));
        }
        Ok(audited)
    }

    /// Deadlocks since the server started.
    pub(super) fn deadlocks(&self) -> Vec<String> {
        let query = "SELECT deadlocks || ' deadlocks' FROM pg_stat_database \
                     WHERE datname = current_database() AND deadlocks > 0";
        texts(&self.url, query)
    }
}
