//! Recording dumps together on `SQLite`.
//!
//! A commit waits for the disk, and `SQLite` has one writer: alone, dumps would come in no faster
//! than the disk syncs, however many devices deliver. So the caller which gets the writing connection records
//! everything that waits, in one transaction: the more wait, the more share a sync. Statements cost
//! as well: each one of `diesel_async` is a visit to the blocking pool, which takes longer than most
//! of them. A batch therefore runs as a whole in one visit, by the very code that records a single
//! dump. Nobody waits for a batch to fill up: a lone dump is recorded at once.
//!
//! No caller learns a result before its commit. If anything in a batch fails, the commit included,
//! it is rolled back and each dump gets a transaction of its own: a bad one fails alone. A batch
//! belongs to no caller: it runs to its end even if all of them went away. A caller that goes away
//! earlier takes its dump out of the queue.
//!
//! `PostgreSQL` has many writers and lets commits share a sync by itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coredock_domain::audit::Change;
use coredock_domain::error::RepositoryError;
use coredock_domain::intake::repository::{RecordCoredump, Recorded};
use tokio::sync::oneshot;

use crate::Database;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::transaction::transact;

/// Most dumps in one transaction: bounds how long other writers wait for it.
const LARGEST_BATCH: usize = 64;

/// Dumps that wait for the writing connection, oldest first.
#[derive(Default)]
pub(crate) struct CoredumpQueue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last_ticket: u64,
    entries: VecDeque<Entry>,
}

struct Entry {
    ticket: u64,
    dump: RecordCoredump,
    change: Change,
    caller: oneshot::Sender<Result<Recorded, Failure>>,
}

/// A caller's place in the queue; leaving it early withdraws the dump.
struct Place<'a> {
    queue: &'a CoredumpQueue,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.withdraw(self.ticket);
    }
}

impl CoredumpQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(
        &self,
        dump: RecordCoredump,
        change: Change,
        caller: oneshot::Sender<Result<Recorded, Failure>>,
    ) -> Place<'_> {
        let mut waiting = self.lock();
        waiting.last_ticket += 1;
        let ticket = waiting.last_ticket;
        waiting.entries.push_back(Entry { ticket, dump, change, caller });
        Place { queue: self, ticket }
    }

    /// Takes an entry out again; `None` when another caller records it already.
    fn withdraw(&self, ticket: u64) -> Option<Entry> {
        self.lock().take(ticket)
    }

    /// Takes a batch with this entry in it; empty when another caller records it already.
    fn take_with(&self, ticket: u64) -> Vec<Entry> {
        let mut waiting = self.lock();
        let Some(own) = waiting.take(ticket) else { return Vec::new() };
        let others = waiting.entries.len().min(LARGEST_BATCH - 1);
        let mut batch: Vec<_> = waiting.entries.drain(..others).collect();
        batch.push(own);
        batch
    }
}

impl Waiting {
    fn take(&mut self, ticket: u64) -> Option<Entry> {
        // Tickets grow, so the entries are in their order.
        let index = self.entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()?;
        self.entries.remove(index)
    }
}

/// Records a dump, together with those that wait at the same time.
pub(super) async fn record(
    database: &Database,
    dump: RecordCoredump,
    change: Change,
) -> Result<Recorded, RepositoryError> {
    database.observe("coredump.record", wait_or_lead(database, dump, change)).await
}

async fn wait_or_lead(
    database: &Database,
    dump: RecordCoredump,
    change: Change,
) -> Result<Recorded, Failure> {
    let queue = database.coredump_queue();
    let (caller, mut answer) = oneshot::channel();
    let place = queue.enter(dump, change, caller);
    tokio::select! {
        biased;
        recorded = &mut answer => return recorded.map_err(Failure::pool)?,
        writer = database.writer() => match writer {
            Ok(connection) => lead(database, connection, queue.take_with(place.ticket)).await,
            Err(failure) => if queue.withdraw(place.ticket).is_some() {
                return Err(failure);
            },
        },
    }
    answer.await.map_err(Failure::pool)?
}

/// Has a batch recorded, whether or not its callers stay.
async fn lead(database: &Database, mut connection: Connection, batch: Vec<Entry>) {
    if batch.is_empty() {
        connection.give_back();
        return;
    }
    // A thread that exists to block runs its work to its end: no caller can go away.
    if !connection.uses_blocking_pool() {
        return record_batch(database, connection, batch).await;
    }
    connection.run_here();
    let database = database.on_caller_thread();
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(record_batch(&database, connection, batch));
    });
}

async fn record_batch(database: &Database, mut connection: Connection, batch: Vec<Entry>) {
    if let Err(failure) = connection.begin().await {
        // Nothing is wrong with any of the dumps: one by one they would only fail more slowly.
        return turn_away(batch, &failure);
    }
    let recorded = record_all(&mut connection, &batch).await;
    match connection.finish(recorded).await {
        Ok(recorded) => {
            for (entry, recorded) in batch.into_iter().zip(recorded) {
                entry.answer(Ok(recorded));
            }
        }
        Err(_) => record_one_by_one(database, batch).await,
    }
}

async fn record_all(
    connection: &mut Connection,
    batch: &[Entry],
) -> Result<Vec<Recorded>, Failure> {
    let mut recorded = Vec::with_capacity(batch.len());
    for entry in batch {
        recorded.push(super::record::record(connection, &entry.dump, &entry.change).await?);
    }
    Ok(recorded)
}

async fn record_one_by_one(database: &Database, batch: Vec<Entry>) {
    let mut entries = batch.into_iter();
    while let Some(entry) = entries.next() {
        let recorded = record_alone(database, &entry).await;
        if let Err(failure @ Failure::Pool(_)) = &recorded {
            // The others need not wait as long for a connection, one after another.
            turn_away(entries.by_ref(), failure);
        }
        entry.answer(recorded);
    }
}

async fn record_alone(database: &Database, entry: &Entry) -> Result<Recorded, Failure> {
    let connection = database.writer().await?;
    transact(connection, async |connection| {
        super::record::record(connection, &entry.dump, &entry.change).await
    })
    .await
}

fn turn_away(entries: impl IntoIterator<Item = Entry>, failure: &Failure) {
    for entry in entries {
        entry.answer(Err(failure.of_another()));
    }
}

impl Entry {
    fn answer(self, recorded: Result<Recorded, Failure>) {
        // A caller that went away needs no answer.
        drop(self.caller.send(recorded));
    }
}
