//! The port to rows of symbol indexes.

use async_trait::async_trait;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::symbolication::index_jobs::{
    ClaimIndex, FinishIndex, IndexJob, IndexStatus, LeasedIndexJob, StoredIndex,
    SymbolIndexRepository,
};
use coredock_domain::timestamp::Timestamp;
use diesel::dsl::auto_type;
use diesel::prelude::*;

use crate::Database;
use crate::artifacts::deletes;
use crate::artifacts::deletes::MAX_BINDS;
use crate::columns::{Column, read_digest};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::locks;
use crate::schema::symbol_indexes;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};

const TABLE: &str = "symbol_indexes";

/// The columns that describe the stored index.
#[derive(Queryable, Selectable)]
#[diesel(table_name = symbol_indexes)]
struct IndexRow {
    elf_sha256: String,
    format: i32,
    size: Option<i64>,
    sha256: Option<String>,
}

impl IndexRow {
    fn read(&self) -> Result<Option<StoredIndex>, Failure> {
        let (Some(size), Some(sha256)) = (self.size, &self.sha256) else { return Ok(None) };
        let facts = ArtifactFacts {
            size: Column(TABLE, "size").require(size.try_into().ok())?,
            sha256: read_digest(sha256, Column(TABLE, "sha256"))?,
        };
        let format = Column(TABLE, "format").require(self.format.try_into().ok())?;
        Ok(Some(StoredIndex { format, facts }))
    }

    fn key(&self) -> Result<Option<ArtifactKey>, Failure> {
        let elf_sha256 = read_digest(&self.elf_sha256, Column(TABLE, "elf_sha256"))?;
        let stored = self.read()?;
        Ok(stored.map(|StoredIndex { format, .. }| ArtifactKey::SymbolIndex { elf_sha256, format }))
    }
}

/// The columns from which the status of an index is derived.
#[derive(Queryable, Selectable)]
#[diesel(table_name = symbol_indexes)]
pub(crate) struct StatusRow {
    sha256: Option<String>,
    error: Option<String>,
    lease_until: Option<StoredTime>,
}

impl StatusRow {
    pub(crate) fn read(self, now: Timestamp) -> Result<IndexStatus, Failure> {
        let until = self.lease_until.map(|time| time.read(Column(TABLE, "lease_until")));
        Ok(match (until.transpose()?, self.sha256, self.error) {
            (Some(until), ..) if until > now => IndexStatus::Building,
            (_, Some(_), _) => IndexStatus::Ready,
            (_, None, Some(error)) => IndexStatus::Failed(error),
            (_, None, None) => IndexStatus::None,
        })
    }
}

/// The row of a build.
#[auto_type]
fn of_build(elf_sha256: String) -> _ {
    symbol_indexes::table.filter(symbol_indexes::elf_sha256.eq(elf_sha256))
}

/// The row of a job, if this owner holds its lease.
#[auto_type]
fn leased_by(elf_sha256: String, owner: String) -> _ {
    symbol_indexes::table
        .filter(symbol_indexes::elf_sha256.eq(elf_sha256))
        .filter(symbol_indexes::lease_owner.eq(owner))
}

/// The builds without an index of this format, or a later one, and without a live lease.
#[auto_type]
fn due(format: i32, now: At) -> _ {
    symbol_indexes::table
        .filter(symbol_indexes::due_at.le(now))
        .filter(symbol_indexes::format.lt(format))
        .filter(symbol_indexes::lease_until.is_null().or(symbol_indexes::lease_until.le(now)))
        .order((symbol_indexes::due_at, symbol_indexes::elf_sha256))
}

/// The columns of a row that no worker has leased.
type Unleased = (
    diesel::dsl::Eq<symbol_indexes::lease_owner, Option<String>>,
    diesel::dsl::Eq<symbol_indexes::lease_until, Option<At>>,
);

fn unleased() -> Unleased {
    (symbol_indexes::lease_owner.eq(None), symbol_indexes::lease_until.eq(None))
}

#[async_trait]
impl SymbolIndexRepository for Database {
    async fn claim(&self, claim: ClaimIndex) -> Result<Option<IndexJob>, RepositoryError> {
        let format = stored_format(claim.format);
        let first = due(format, At(claim.now)).select(symbol_indexes::elf_sha256);
        // An idle worker polls and should not write each time.
        let is_due = self
            .read("symbol_index.due", async |conn| {
                Ok(on!(conn, |c| first.first::<String>(c)).optional()?.is_some())
            })
            .await?;
        if !is_due {
            return Ok(None);
        }
        self.write("symbol_index.claim", async |conn| claim_first_due(conn, &claim).await).await
    }

    async fn finish(&self, result: FinishIndex) -> Result<bool, RepositoryError> {
        self.write("symbol_index.finish", async |conn| finish(conn, &result).await).await
    }

    async fn postpone(
        &self,
        job: LeasedIndexJob,
        due: Timestamp,
        counts: bool,
    ) -> Result<(), RepositoryError> {
        let row = leased_by(job.elf_sha256.to_string(), job.owner.as_str().to_owned());
        let uncounted = symbol_indexes::attempts.eq(symbol_indexes::attempts - 1);
        let changes =
            (unleased(), symbol_indexes::due_at.eq(At(due)), (!counts).then_some(uncounted));
        self.write("symbol_index.postpone", async |conn| {
            on!(conn, |c| diesel::update(row).set(changes).execute(c))?;
            Ok(())
        })
        .await
    }

    async fn find(&self, elf_sha256: Sha256Digest) -> Result<Option<StoredIndex>, RepositoryError> {
        let query = of_build(elf_sha256.to_string());
        self.read("symbol_index.find", async |conn| {
            let row = on!(conn, |c| query.select(IndexRow::as_select()).first::<IndexRow>(c));
            let row = row.optional()?;
            Ok(row.map(|row| row.read()).transpose()?.flatten())
        })
        .await
    }

    async fn forget(
        &self,
        elf_sha256: Sha256Digest,
        index: StoredIndex,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let same = of_build(elf_sha256.to_string())
            .filter(symbol_indexes::sha256.eq(index.facts.sha256.to_string()));
        self.write("symbol_index.forget", async |conn| {
            on!(conn, |c| diesel::update(same).set(unbuilt(now)).execute(c))?;
            Ok(())
        })
        .await
    }
}

/// The columns of a row before an index is built.
type Unbuilt = (
    diesel::dsl::Eq<symbol_indexes::format, i32>,
    diesel::dsl::Eq<symbol_indexes::size, Option<i64>>,
    diesel::dsl::Eq<symbol_indexes::sha256, Option<String>>,
    diesel::dsl::Eq<symbol_indexes::error, Option<String>>,
    diesel::dsl::Eq<symbol_indexes::attempts, i32>,
    diesel::dsl::Eq<symbol_indexes::due_at, At>,
);

fn unbuilt(now: Timestamp) -> Unbuilt {
    (
        symbol_indexes::format.eq(0),
        symbol_indexes::size.eq(None),
        symbol_indexes::sha256.eq(None),
        symbol_indexes::error.eq(None),
        symbol_indexes::attempts.eq(0),
        symbol_indexes::due_at.eq(At(now)),
    )
}

/// Makes an index of a stored ELF due, unless one exists. An index that could not be built is due
/// again.
pub(crate) async fn request(
    conn: &mut Connection,
    elf_sha256: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let row = (symbol_indexes::elf_sha256.eq(elf_sha256), unbuilt(now));
    on!(conn, |c| diesel::insert_into(symbol_indexes::table)
        .values(row)
        .on_conflict_do_nothing()
        .execute(c))?;
    let failed = of_build(elf_sha256.to_owned()).filter(symbol_indexes::error.is_not_null());
    on!(conn, |c| diesel::update(failed).set(unbuilt(now)).execute(c))?;
    Ok(())
}

/// Deletes the rows of builds whose ELF is no longer stored; returns the keys of their indexes.
pub(crate) async fn forget_builds(
    conn: &mut Connection,
    builds: &[String],
) -> Result<Vec<ArtifactKey>, Failure> {
    let mut keys = Vec::new();
    for batch in builds.chunks(MAX_BINDS) {
        let of_builds = symbol_indexes::table.filter(symbol_indexes::elf_sha256.eq_any(batch));
        let rows = on!(conn, |c| diesel::delete(of_builds)
            .returning(IndexRow::as_returning())
            .load::<IndexRow>(c))?;
        for row in rows {
            keys.extend(row.key()?);
        }
    }
    Ok(keys)
}

/// An index of a build whose object is in use.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct UsedIndex {
    pub(crate) build: String,
    /// `None`: every format, because an index is being built.
    pub(crate) format: Option<u32>,
}

/// The indexes of these builds whose objects are in use.
pub(crate) async fn in_use(
    conn: &mut Connection,
    builds: &[String],
    now: Timestamp,
) -> Result<Vec<UsedIndex>, Failure> {
    let being_built = symbol_indexes::lease_until.gt(At(now)).assume_not_null();
    let of_builds = symbol_indexes::table
        .filter(symbol_indexes::elf_sha256.eq_any(builds))
        .filter(symbol_indexes::sha256.is_not_null().or(being_built))
        .select((symbol_indexes::elf_sha256, symbol_indexes::format, symbol_indexes::lease_until));
    let rows = on!(conn, |c| of_builds.load::<(String, i32, Option<StoredTime>)>(c))?;
    let used = rows.into_iter().map(|(build, format, until)| {
        let until = until.map(|time| time.read(Column(TABLE, "lease_until"))).transpose()?;
        let format = Column(TABLE, "format").require(format.try_into().ok())?;
        let is_being_built = until.is_some_and(|until| until > now);
        Ok(UsedIndex { build, format: (!is_being_built).then_some(format) })
    });
    used.collect()
}

async fn claim_first_due(
    conn: &mut Connection,
    claim: &ClaimIndex,
) -> Result<Option<IndexJob>, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let first = due(stored_format(claim.format), At(claim.now)).select(symbol_indexes::elf_sha256);
    let Some(build) = on!(conn, |c| first.first::<String>(c)).optional()? else {
        return Ok(None);
    };
    let lease = (
        symbol_indexes::lease_owner.eq(claim.owner.as_str()),
        symbol_indexes::lease_until.eq(At(claim.until)),
        symbol_indexes::attempts.eq(symbol_indexes::attempts + 1),
    );
    let attempts = on!(conn, |c| diesel::update(of_build(build.clone()))
        .set(lease)
        .returning(symbol_indexes::attempts)
        .get_result::<i32>(c))?;
    Ok(Some(IndexJob {
        elf_sha256: read_digest(&build, Column(TABLE, "elf_sha256"))?,
        attempts: Column(TABLE, "attempts").require(attempts.try_into().ok())?,
    }))
}

async fn finish(conn: &mut Connection, result: &FinishIndex) -> Result<bool, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let FinishIndex { job, format, outcome, now } = result;
    let (elf_sha256, build) = (job.elf_sha256, job.elf_sha256.to_string());
    let key = ArtifactKey::SymbolIndex { elf_sha256, format: *format };
    let row = leased_by(build.clone(), job.owner.as_str().to_owned());
    let before = row.clone();
    let before = on!(conn, |c| before.select(IndexRow::as_select()).first::<IndexRow>(c));
    let Some(before) = before.optional()? else {
        // Another worker may have the lease now; it cancels this delete if it stores the same key.
        if outcome.is_ok() {
            deletes::queue(conn, &[key], *now).await?;
        }
        return Ok(false);
    };
    if outcome.is_ok() && !deletes::cancel_unless_begun(conn, &key, *now).await? {
        let again = (unleased(), unbuilt(*now));
        on!(conn, |c| diesel::update(row).set(again).execute(c))?;
        return Ok(false);
    }
    let facts = outcome.as_ref().ok();
    let size = facts.map(|facts| Column(TABLE, "size").require(i64::try_from(facts.size).ok()));
    let columns = (
        unleased(),
        symbol_indexes::format.eq(stored_format(*format)),
        symbol_indexes::size.eq(size.transpose()?),
        symbol_indexes::sha256.eq(facts.map(|facts| facts.sha256.to_string())),
        symbol_indexes::error.eq(outcome.as_ref().err()),
        symbol_indexes::attempts.eq(0),
    );
    on!(conn, |c| diesel::update(row).set(columns).execute(c))?;
    let older = before.key()?.filter(|older| *older != key);
    deletes::queue(conn, older.as_slice(), *now).await?;
    Ok(true)
}

/// Formats are numbered from 1, and there are few.
fn stored_format(format: u32) -> i32 {
    i32::try_from(format).unwrap_or(i32::MAX)
}
