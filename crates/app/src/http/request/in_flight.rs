//! Requests in flight: counted for shutdown, which waits for their end, and for a metric.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

/// How many requests are being handled and downloads being sent. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct RequestsInFlight(Arc<AtomicUsize>);

impl RequestsInFlight {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts a request, here and in `gauge`, until the guard is dropped.
    pub fn enter(&self, gauge: IntGauge) -> InFlight {
        self.0.fetch_add(1, Ordering::SeqCst);
        gauge.inc();
        InFlight { count: Arc::clone(&self.0), gauge }
    }
}

/// One request, or one download, in flight.
pub struct InFlight {
    count: Arc<AtomicUsize>,
    gauge: IntGauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_until_its_guard_is_dropped() {
        let requests = RequestsInFlight::default();
        let gauge = IntGauge::new("requests", "requests").unwrap();
        let first = requests.enter(gauge.clone());
        let second = requests.clone().enter(gauge.clone());
        assert_eq!((requests.count(), gauge.get()), (2, 2));
        drop(first);
        assert_eq!((requests.count(), gauge.get()), (1, 1));
        drop(second);
        assert_eq!((requests.count(), gauge.get()), (0, 0));
    }
}
