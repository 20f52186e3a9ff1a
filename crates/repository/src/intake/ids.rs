//! Ids of dumps, reserved before their rows exist (contract §6.1).

use std::collections::VecDeque;

use coredock_domain::error::RepositoryError;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use tokio::sync::Mutex;

use crate::Database;
use crate::columns::Column;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::postgres::PostgresDialect;
use crate::statement::RunQueryDsl;

/// The number of ids reserved by one commit. Ids that are left when the process ends stay unused.
const BLOCK: i64 = 64;

/// Raises the highest id that `SQLite` has given, so that it gives none of the block by itself.
const RAISE: &str =
    "UPDATE sqlite_sequence SET seq = seq + $1 WHERE name = 'coredumps' RETURNING seq AS id";
/// `SQLite` adds the row of a table to `sqlite_sequence` only with the first row of that table.
const FIRST: &str = "INSERT INTO sqlite_sequence (name, seq) SELECT 'coredumps', 0 \
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'coredumps')";
/// One call per id, because other processes may take ids in between.
const NEXT: &str = "SELECT nextval(pg_get_serial_sequence('coredumps', 'id')) AS id \
     FROM generate_series(1, $1)";

/// The ids which this process has reserved. A commit waits for the disk: without blocks each dump
/// would wait twice.
#[derive(Default)]
pub(crate) struct CoredumpIds {
    left: Mutex<VecDeque<i64>>,
}

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The next id.
pub(super) async fn reserve(database: &Database) -> Result<i64, RepositoryError> {
    let ids = database.coredump_ids();
    let waiting = tokio::time::timeout(database.max_wait(), ids.left.lock());
    let mut left = waiting
        .await
        .map_err(|elapsed| database.count(Failure::pool(elapsed).during("coredump.reserve_id")))?;
    if let Some(id) = left.pop_front() {
        return Ok(id);
    }
    *left = database
        .write_at_once("coredump.reserve_id", async move |conn| next_block(conn).await)
        .await?;
    Column("coredumps", "id")
        .require(left.pop_front())
        .map_err(|failure| database.count(failure.during("coredump.reserve_id")))
}

async fn next_block(conn: &mut Connection) -> Result<VecDeque<i64>, Failure> {
    if let Connection::Postgres(lent) = conn {
        let next = diesel::sql_query(NEXT).bind::<BigInt, _>(BLOCK);
        let block: Vec<IdRow> = lent.start(next.load(PostgresDialect)).await?;
        return Ok(block.into_iter().map(|row| row.id).collect());
    }
    on!(conn, |c| diesel::sql_query(FIRST).execute(c))?;
    let raise = diesel::sql_query(RAISE).bind::<BigInt, _>(BLOCK);
    let last = on!(conn, |c| raise.get_result::<IdRow>(c))?.id;
    let end = Column("sqlite_sequence", "seq").require(last.checked_add(1))?;
    Ok((end - BLOCK..end).collect())
}
