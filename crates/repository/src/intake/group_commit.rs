//! Recording dumps together on `SQLite`.
//!
//! A commit waits for the disk, and `SQLite` has one writer: with one commit per dump, the disk
//! would limit the rate of dumps, however many devices deliver. Therefore the caller which gets the
//! writing connection records all waiting dumps in one transaction: the more dumps wait, the more
//! share a sync. Statements cost time as well: `diesel_async` hands each one to the blocking pool,
//! and the hand-over takes longer than most statements. Therefore a batch is handed over as a
//! whole, and runs the same code which records a single dump. No dump waits for a batch to fill up:
//! a single dump is recorded at once.
//!
//! No caller learns a result before its commit. If anything in a batch fails, the commit included,
//! the batch is rolled back and each dump gets a separate transaction, so that a bad dump fails
//! alone. A batch runs to its end even if the futures of all its callers are dropped. A caller that
//! is dropped earlier removes its dump from the queue.
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

/// The largest number of dumps in one transaction: bounds how long other writers wait for it.
const MAX_BATCH: usize = 64;

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

/// A caller's place in the queue; dropping it withdraws the dump.
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

    /// Removes an entry; `None` if another caller records it already.
    fn withdraw(&self, ticket: u64) -> Option<Entry> {
        self.lock().take(ticket)
    }

    /// Removes a batch which contains this entry; empty if another caller records it already.
    fn take_with(&self, ticket: u64) -> Vec<Entry> {
        let mut waiting = self.lock();
        let Some(entry) = waiting.take(ticket) else { return Vec::new() };
        let others = waiting.entries.len().min(MAX_BATCH - 1);
        let mut batch: Vec<_> = waiting.entries.drain(..others).collect();
        batch.push(entry);
        batch
    }
}

impl Waiting {
    fn take(&mut self, ticket: u64) -> Option<Entry> {
        // Tickets grow, so the entries are sorted by them.
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

/// Records a batch, even if the futures of its callers are dropped meanwhile.
async fn lead(database: &Database, mut connection: Connection, batch: Vec<Entry>) {
    if batch.is_empty() {
        connection.give_back();
        return;
    }
    // A caller thread runs its work to its end: no caller of the batch can be dropped.
    if !connection.uses_blocking_pool() {
        return record_batch(database, connection, batch).await;
    }
    connection.run_on_caller_thread();
    let database = database.on_caller_thread();
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(record_batch(&database, connection, batch));
    });
}

async fn record_batch(database: &Database, mut connection: Connection, batch: Vec<Entry>) {
    if let Err(failure) = connection.begin().await {
        // No dump is the cause: one by one they would only fail more slowly.
        return fail_all(batch, &failure);
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
            // The other dumps would wait as long for a connection, one after another.
            fail_all(entries.by_ref(), failure);
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

fn fail_all(entries: impl IntoIterator<Item = Entry>, failure: &Failure) {
    for entry in entries {
        entry.answer(Err(failure.for_another_caller()));
    }
}

impl Entry {
    fn answer(self, recorded: Result<Recorded, Failure>) {
        // Fails only if the caller was dropped.
        drop(self.caller.send(recorded));
    }
}
