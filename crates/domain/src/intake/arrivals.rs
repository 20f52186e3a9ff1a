//! Counts the dumps which are being received.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many dumps are being received at the moment. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<AtomicUsize>);

impl Arrivals {
    /// Whether more than one dump is being received.
    pub(crate) fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }

    /// Counts one dump until the guard is dropped.
    pub(super) fn begin(&self) -> ArrivalGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ArrivalGuard(self.clone())
    }
}

pub(super) struct ArrivalGuard(Arrivals);

impl Drop for ArrivalGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
