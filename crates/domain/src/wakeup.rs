//! Hints to background workers.

/// A background worker which can be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worker {
    /// Deletes the objects which the outbox names.
    Outbox,
    /// Builds missing symbol indexes.
    Indexing,
    /// Works on due parse jobs.
    Parsing,
    /// Replays the rescue spool.
    Replay,
}

/// Wakes background workers. A wake-up is a hint and may be lost: every worker also polls.
pub trait Wakeup: Send + Sync {
    /// Wakes a worker, or makes it skip its next wait.
    fn wake(&self, worker: Worker);
}
