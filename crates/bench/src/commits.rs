//! The rate of durable commits of SQLite, made by this process alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use diesel::prelude::*;

use super::report::per_second;

diesel::table! {
    notes (id) {
        id -> BigInt,
        text -> Text,
    }
}

/// Bytes of text per row: about the length of a row of a dump.
const ROW_BYTES: usize = 300;

/// Transactions of one row per second, on one connection with the settings of the server, which
/// sync each commit.
pub(super) fn rate(directory: &Path, duration: Duration) -> Result<f64> {
    let path = directory.join("peer.db");
    let mut connection =
        SqliteConnection::establish(path.to_str().context("the path is not UTF-8")?)?;
    for statement in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA wal_autocheckpoint = 4096",
        "CREATE TABLE notes (id integer PRIMARY KEY NOT NULL, text text NOT NULL)",
    ] {
        diesel::sql_query(statement).execute(&mut connection)?;
    }
    let (text, began, mut committed) = ("x".repeat(ROW_BYTES), Instant::now(), 0);
    while began.elapsed() < duration {
        diesel::insert_into(notes::table).values(notes::text.eq(&text)).execute(&mut connection)?;
        committed += 1;
    }
    per_second(committed, began.elapsed())
}
