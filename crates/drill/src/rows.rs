//! The rows beneath a server, read without it.

use std::path::Path;

use anyhow::{Context, Result};
use coredock_domain::digest::Sha256Digest;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::material::{Fact, SetFacts};

/// A connection of its own to the SQLite file.
pub(super) struct Database(SqliteConnection);

/// One moment of all rows the drill looks at.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) dumps: Vec<DumpRow>,
    pub(super) versions: Vec<VersionRow>,
    /// Current version by row of the model.
    pub(super) pointers: Vec<(i64, Option<String>)>,
    /// Keys in the outbox.
    pub(super) outbox: Vec<String>,
    /// Builds whose symbols are kept.
    pub(super) builds: Vec<String>,
    /// What SQLite finds wrong with itself.
    pub(super) faults: Vec<String>,
}

/// A dump.
#[derive(Debug, Clone, QueryableByName)]
pub(super) struct DumpRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) device_id: i64,
    #[diesel(sql_type = Text)]
    pub(super) chip: String,
    #[diesel(sql_type = Text)]
    pub(super) firmware_version: String,
    #[diesel(sql_type = BigInt)]
    size: i64,
    #[diesel(sql_type = Text)]
    sha256: String,
    #[diesel(sql_type = Text)]
    pub(super) parse_status: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) error_code: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub(super) attempts: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) occurrences: i64,
    #[diesel(sql_type = Text)]
    pub(super) uploaded_at: String,
    /// 1 while somebody may hold the job.
    #[diesel(sql_type = BigInt)]
    pub(super) leased: i64,
}

/// A version.
#[derive(Debug, Clone)]
pub(super) struct VersionRow {
    pub(super) id: i64,
    pub(super) model_id: i64,
    pub(super) version: String,
    pub(super) facts: SetFacts,
    /// The upload whose staged objects hold the set.
    pub(super) staging: Option<String>,
    pub(super) uploaded_at: String,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

impl Rows {
    /// Which rows there are, with their sets.
    pub(super) fn names(&self) -> (Vec<i64>, Vec<(i64, SetFacts)>, usize) {
        let dumps = self.dumps.iter().map(|dump| dump.id).collect();
        let versions = self.versions.iter().map(|version| (version.id, version.facts)).collect();
        (dumps, versions, self.outbox.len())
    }
}

impl DumpRow {
    /// Length and digest of the object.
    pub(super) fn fact(&self) -> Result<Fact> {
        Ok(Fact { size: u64::try_from(self.size)?, sha256: self.sha256.parse()? })
    }

    /// Columns separated by spaces, the version last.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let mut words = line.splitn(12, ' ');
        let mut word = || words.next().context("a dump row lacks columns");
        Ok(Self {
            id: word()?.parse()?,
            device_id: word()?.parse()?,
            chip: word()?.to_owned(),
            size: word()?.parse()?,
            sha256: word()?.to_owned(),
            parse_status: word()?.to_owned(),
            error_code: Some(word()?.to_owned()).filter(|code| code != "-"),
            attempts: word()?.parse()?,
            occurrences: word()?.parse()?,
            uploaded_at: word()?.to_owned(),
            leased: word()?.parse()?,
            firmware_version: word()?.to_owned(),
        })
    }

    /// A parsed dump of the first device.
    #[cfg(test)]
    pub(super) fn of(id: i64, fact: Fact, occurrences: i64) -> Self {
        Self {
            id,
            device_id: 1,
            chip: "esp32s3".into(),
            firmware_version: "1.0.0".into(),
            size: i64::try_from(fact.size).unwrap(),
            sha256: fact.sha256.to_string(),
            parse_status: "PARSED".into(),
            error_code: None,
            attempts: 1,
            occurrences,
            uploaded_at: format!("{id:09}"),
            leased: 0,
        }
    }

    /// Its place in the order of the dumps of its device.
    pub(super) fn place(&self) -> (String, i64) {
        (self.uploaded_at.clone(), self.id)
    }
}

/// Everything that may hold something back for longer than a drill waits.
const DEAD_LEASES: [&str; 2] = [
    "UPDATE outbox SET lease_until = '2000-01-01T00:00:00.000000Z' WHERE lease_owner IN ",
    "UPDATE leases SET expires_at = '2000-01-01T00:00:00.000000Z' WHERE owner IN ",
];
const JOB_LEASES: &str =
    "UPDATE coredumps SET lease_until = '2000-01-01T00:00:00.000000Z' WHERE lease_owner IN ";

impl Database {
    /// Opens the file, which a server may have open too.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text = path.to_str().context("the path is not UTF-8")?;
        let mut connection = SqliteConnection::establish(text)
            .with_context(|| format!("cannot open {}", path.display()))?;
        diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut connection)?;
        Ok(Self(connection))
    }

    /// Reads everything, at one moment.
    pub(super) fn read(&mut self) -> Result<Rows> {
        self.0.transaction(|connection| {
            Ok(Rows {
                dumps: dumps(connection)?,
                versions: versions(connection)?,
                pointers: pointers(connection)?,
                outbox: texts(connection, "SELECT object_key AS value FROM outbox")?,
                builds: texts(connection, "SELECT elf_sha256 AS value FROM known_builds")?,
                faults: faults(connection)?,
            })
        })
    }

    /// Who holds a lease.
    pub(super) fn lease_owners(&mut self) -> Result<Vec<String>> {
        let owners = "SELECT lease_owner AS value FROM outbox WHERE lease_owner IS NOT NULL \
                      UNION SELECT owner FROM leases UNION \
                      SELECT lease_owner FROM coredumps WHERE lease_owner IS NOT NULL";
        texts(&mut self.0, owners)
    }

    /// Ends the leases of `owners`, as if they had been dead for long: those of publications and
    /// deletes, and with `jobs` those of parses.
    pub(super) fn end_leases(&mut self, owners: &[String], jobs: bool) -> Result<()> {
        let owners = owners.iter().map(|owner| format!("'{owner}'")).collect::<Vec<_>>().join(",");
        for statement in DEAD_LEASES.into_iter().chain(jobs.then_some(JOB_LEASES)) {
            diesel::sql_query(format!("{statement}({owners})")).execute(&mut self.0)?;
        }
        Ok(())
    }

    /// What still has to be done by itself: deletes, settlements, parses.
    pub(super) fn undone(&mut self) -> Result<i64> {
        let undone = "SELECT (SELECT count(*) FROM outbox) \
                      + (SELECT count(*) FROM firmware_versions WHERE staging_upload_id IS NOT NULL) \
                      + (SELECT count(*) FROM coredumps WHERE parse_status = 'PENDING') AS value";
        Ok(diesel::sql_query(undone).get_result::<Number>(&mut self.0)?.value)
    }
}

fn texts(connection: &mut SqliteConnection, query: &str) -> Result<Vec<String>> {
    let lines = diesel::sql_query(query).load::<Line>(connection)?;
    Ok(lines.into_iter().map(|line| line.value).collect())
}

fn dumps(connection: &mut SqliteConnection) -> Result<Vec<DumpRow>> {
    let query = "SELECT id, device_id, chip, firmware_version, CAST(size AS bigint) AS size, \
                 ifnull(sha256, '') AS sha256, parse_status, error_code, attempts, occurrences, \
                 uploaded_at, lease_until IS NOT NULL AS leased FROM coredumps ORDER BY id";
    Ok(diesel::sql_query(query).load(connection)?)
}

/// One text per row.
fn versions(connection: &mut SqliteConnection) -> Result<Vec<VersionRow>> {
    let query = "SELECT id || ' ' || device_model_id || ' ' || uploaded_at || ' ' \
                 || ifnull(staging_upload_id, '-') || ' ' \
                 || elf_size || ' ' || elf_sha256 || ' ' || map_size || ' ' || map_sha256 || ' ' \
                 || sdkconfig_size || ' ' || sdkconfig_sha256 || ' ' \
                 || version_json_size || ' ' || version_json_sha256 || ' ' \
                 || bin_size || ' ' || bin_sha256 || ' ' || version AS value \
                 FROM firmware_versions ORDER BY id";
    texts(connection, query)?.iter().map(|line| VersionRow::parse(line)).collect()
}

fn pointers(connection: &mut SqliteConnection) -> Result<Vec<(i64, Option<String>)>> {
    let query = "SELECT id || ' ' || ifnull(firmware_version, '') AS value FROM device_models";
    let pointer = |line: &String| {
        let (id, version) = line.split_once(' ').context("a model without id")?;
        Ok((id.parse()?, (!version.is_empty()).then(|| version.to_owned())))
    };
    texts(connection, query)?.iter().map(pointer).collect()
}

fn faults(connection: &mut SqliteConnection) -> Result<Vec<String>> {
    let integrity = "SELECT integrity_check AS value FROM pragma_integrity_check \
                     WHERE integrity_check <> 'ok'";
    let keys = "SELECT \"table\" || ' row ' || ifnull(rowid, '') AS value \
                FROM pragma_foreign_key_check";
    Ok([texts(connection, integrity)?, texts(connection, keys)?].concat())
}

impl VersionRow {
    /// Columns separated by spaces, the version last.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let mut words = line.splitn(15, ' ');
        let mut word = || words.next().context("a version row lacks columns");
        let (id, model_id) = (word()?.parse()?, word()?.parse()?);
        let (uploaded_at, staging) = (word()?.to_owned(), word()?);
        let staging = (staging != "-").then(|| staging.to_owned());
        let mut fact =
            || Ok::<_, anyhow::Error>(Fact { size: word()?.parse()?, sha256: digest(word()?)? });
        let facts = [fact()?, fact()?, fact()?, fact()?, fact()?];
        let version = word()?.to_owned();
        Ok(Self { id, model_id, version, facts, staging, uploaded_at })
    }

    /// The build id.
    pub(super) fn build(&self) -> Fact {
        self.facts[0]
    }

    /// Its place in the order of the versions of its model.
    pub(super) fn place(&self) -> (String, i64) {
        (self.uploaded_at.clone(), self.id)
    }
}

fn digest(text: &str) -> Result<Sha256Digest> {
    text.parse().with_context(|| format!("no SHA-256: {text}"))
}

/// The rows a dead server left, read from a copy so that the server itself recovers its journal.
pub(super) fn read_copy(database: &Path, scratch: &Path) -> Result<(Rows, Vec<String>)> {
    let directory = tempfile::TempDir::with_prefix_in("look-", scratch)?;
    let copy = directory.path().join("copy.db");
    std::fs::copy(database, &copy)?;
    let journal = suffixed(database, "-wal");
    if journal.exists() {
        std::fs::copy(journal, suffixed(&copy, "-wal"))?;
    }
    let mut database = Database::open(&copy)?;
    Ok((database.read()?, database.lease_owners()?))
}

fn suffixed(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
