//! Slows down who keeps sending tokens that are refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coredock_domain::Clock;
use moka::sync::Cache;
use tokio::sync::Semaphore;

/// Longest wait before a 401.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// Refusals of one address within [`WINDOW`] that are answered at once: a proxy or an office may
/// have many users.
const FREE_REFUSALS: u32 = 100;
/// Each further refusal waits longer by this.
const STEP: Duration = Duration::from_millis(2);
const WINDOW: Duration = Duration::from_mins(1);
/// Requests that wait at once; others are answered without a wait, because waiting costs memory.
const MAX_WAITING: usize = 1_000;
/// Addresses that are remembered, of some 100 bytes each.
const MAX_ADDRESSES: u64 = 10_000;

/// Counts refusals per address.
pub(super) struct RefusalDelay {
    refusals: Cache<IpAddr, u32>,
    waiting: Semaphore,
    clock: Arc<dyn Clock>,
}

impl RefusalDelay {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let refusals = Cache::builder().max_capacity(MAX_ADDRESSES).time_to_live(WINDOW).build();
        Self { refusals, waiting: Semaphore::new(MAX_WAITING), clock }
    }

    /// Returns when the refusal may be answered.
    pub(super) async fn wait(&self, address: IpAddr) {
        let count = self
            .refusals
            .entry(address)
            .and_upsert_with(|known| known.map_or(1, |known| known.into_value().saturating_add(1)));
        let delay = delay_after(count.into_value());
        if delay.is_zero() {
            return;
        }
        if let Ok(_place) = self.waiting.try_acquire() {
            self.clock.sleep(delay).await;
        }
    }
}

fn delay_after(refusals: u32) -> Duration {
    STEP.saturating_mul(refusals.saturating_sub(FREE_REFUSALS)).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_with_the_refusals_up_to_its_limit() {
        assert_eq!(delay_after(1), Duration::ZERO);
        assert_eq!(delay_after(FREE_REFUSALS), Duration::ZERO);
        assert_eq!(delay_after(FREE_REFUSALS + 1), STEP);
        assert_eq!(delay_after(u32::MAX), MAX_DELAY);
    }
}
