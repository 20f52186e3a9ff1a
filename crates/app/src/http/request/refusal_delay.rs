//! Delays answers to addresses that keep sending tokens which are refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coredock_domain::Clock;
use coredock_domain::timestamp::Timestamp;
use moka::Entry;
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
    refusals: Cache<IpAddr, Refusals>,
    waiting: Semaphore,
    clock: Arc<dyn Clock>,
}

/// Refusals since the begin of a window.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    since: Timestamp,
    count: u32,
}

impl RefusalDelay {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let refusals = Cache::builder().max_capacity(MAX_ADDRESSES).time_to_live(WINDOW).build();
        Self { refusals, waiting: Semaphore::new(MAX_WAITING), clock }
    }

    /// Returns when the refusal may be answered.
    pub(super) async fn wait(&self, address: IpAddr) {
        let now = self.clock.now();
        let first = Refusals { since: now, count: 1 };
        let refusals = self.refusals.entry(network(address)).and_upsert_with(|known| {
            let known = known.map(Entry::into_value);
            let known = known.filter(|known| now < known.since.after(WINDOW));
            known.map_or(first, |known| Refusals { count: known.count.saturating_add(1), ..known })
        });
        let delay = delay_after(refusals.into_value().count);
        if delay.is_zero() {
            return;
        }
        if let Ok(_place) = self.waiting.try_acquire() {
            self.clock.sleep(delay).await;
        }
    }
}

/// The addresses that one sender has: of IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(bits.into())
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

    #[test]
    fn a_sender_has_one_address_or_a_network_of_them() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
