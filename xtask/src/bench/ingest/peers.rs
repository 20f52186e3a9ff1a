//! What taking in a dump consists of, done alone by this process: a durable file, a durable row.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use diesel::prelude::*;

use super::BODY;
use super::burst::{body, per_second};

diesel::table! {
    notes (id) {
        id -> BigInt,
        text -> Text,
    }
}

/// About as much as a row of a dump holds.
const ROW: usize = 300;

/// Files written per second: created, written and synced, in one directory by so many threads.
pub(super) fn files(directory: &Path, writers: usize, duration: Duration) -> Result<f64> {
    let began = Instant::now();
    let write = |writer: usize| -> Result<usize> {
        let content = body(writer, BODY);
        let mut written = 0;
        while began.elapsed() < duration {
            let name = format!("{writer}-of-{writers}-{written}");
            let mut file = File::create(directory.join(name))?;
            file.write_all(&content)?;
            file.sync_all()?;
            written += 1;
        }
        Ok(written)
    };
    let written = scope(|threads| {
        let writing: Vec<_> =
            (0..writers).map(|writer| threads.spawn(move || write(writer))).collect();
        writing.into_iter().try_fold(0, |sum, writer| {
            let written =
                writer.join().map_err(|_panic| anyhow!("a writing thread panicked"))??;
            Ok::<_, anyhow::Error>(sum + written)
        })
    })?;
    per_second(written, began.elapsed())
}

/// Transactions of one row per second, on one connection that syncs every commit.
pub(super) fn commits(directory: &Path, duration: Duration) -> Result<f64> {
    let path = directory.join("peer.db");
    let mut connection = SqliteConnection::establish(path.to_str().context("no UTF-8")?)?;
    for statement in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE notes (id integer PRIMARY KEY NOT NULL, text text NOT NULL)",
    ] {
        diesel::sql_query(statement).execute(&mut connection)?;
    }
    let (text, began, mut committed) = ("x".repeat(ROW), Instant::now(), 0);
    while began.elapsed() < duration {
        diesel::insert_into(notes::table).values(notes::text.eq(&text)).execute(&mut connection)?;
        committed += 1;
    }
    per_second(committed, began.elapsed())
}
