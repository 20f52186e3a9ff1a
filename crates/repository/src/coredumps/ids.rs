//! Ids of dumps, reserved before their rows exist (contract §6.1).

use std::ops::Range;

use coredock_domain::repository::RepositoryError;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use tokio::sync::Mutex;

use crate::Database;
use crate::connection::{Connection, on, one_statement, write_at_once};
use crate::failure::Failure;
use crate::sqlite::Sqlite;
use crate::values::Column;

/// Ids reserved by one commit. What is left of them when the process ends stays unused.
const BLOCK: i64 = 64;

/// Raises the highest id `SQLite` ever gave, so that it gives none of the block itself.
const RAISE: &str =
    "UPDATE sqlite_sequence SET seq = seq + $1 WHERE name = 'coredumps' RETURNING seq AS id";
/// The line exists only once there was a row.
const FIRST: &str = "INSERT INTO sqlite_sequence (name, seq) SELECT 'coredumps', 0 \
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'coredumps')";
const NEXT: &str = "SELECT nextval(pg_get_serial_sequence('coredumps', 'id')) AS id";

/// Ids this process reserved in a `SQLite` file. A commit waits for the disk: without blocks each
/// dump would wait twice.
#[derive(Default)]
pub(crate) struct CoredumpIds {
    left: Mutex<Range<i64>>,
}

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The next id.
pub(super) async fn reserve(database: &Database) -> Result<i64, RepositoryError> {
    if let Some(sqlite) = database.sqlite() {
        return out_of_block(database, sqlite).await;
    }
    one_statement!(database, "coredump.reserve_id", |conn| {
        let row = on!(conn, |c| diesel::sql_query(NEXT).get_result::<IdRow>(c))?;
        Ok(row.id)
    })
}

async fn out_of_block(database: &Database, sqlite: &Sqlite) -> Result<i64, RepositoryError> {
    let waiting = tokio::time::timeout(sqlite.wait, sqlite.coredump_ids.left.lock());
    let mut left = waiting
        .await
        .map_err(|elapsed| database.count(Failure::pool(elapsed).during("coredump.reserve_id")))?;
    if let Some(id) = left.next() {
        return Ok(id);
    }
    let mut block =
        write_at_once!(database, "coredump.reserve_id", |conn| { next_block(conn).await })?;
    let id = block.next();
    *left = block;
    Column("sqlite_sequence", "seq")
        .holds(id)
        .map_err(|failure| database.count(failure.during("coredump.reserve_id")))
}

async fn next_block(conn: &mut Connection) -> Result<Range<i64>, Failure> {
    on!(&mut *conn, |c| diesel::sql_query(FIRST).execute(c))?;
    let raise = diesel::sql_query(RAISE).bind::<BigInt, _>(BLOCK);
    let last = on!(conn, |c| raise.get_result::<IdRow>(c))?.id;
    let end = Column("sqlite_sequence", "seq").holds(last.checked_add(1))?;
    Ok(end - BLOCK..end)
}
