//! Hints to background workers.

/// Tells a worker that there is something to do; a hint that may be lost.
pub trait Wakeup: Send + Sync {
    /// Wakes the worker.
    fn wake(&self);
}
