//! A clock which only a test advances.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use coredock_domain::Clock;
use coredock_domain::timestamp::Timestamp;
use futures::channel::oneshot;

/// Does not advance without [`SettableClock::advance`] or [`SettableClock::set`]; nothing sleeps in
/// real time.
#[derive(Debug)]
pub struct SettableClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: Vec<Sleeper>,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Sleeper {
    until: Timestamp,
    wake: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Watcher {
    count: usize,
    wake: oneshot::Sender<()>,
}

impl SettableClock {
    pub fn at(now: Timestamp) -> Self {
        Self { state: Mutex::new(State { now, sleepers: Vec::new(), watchers: Vec::new() }) }
    }

    /// Advances the time and wakes every sleeper whose time has come.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        let now = state.now.after(duration);
        state.set(now);
    }

    /// Sets the time, also to an earlier one.
    pub fn set(&self, now: Timestamp) {
        self.state().set(now);
    }

    /// Number of sleepers, without those which were cancelled.
    pub fn sleeping(&self) -> usize {
        self.state().sleeping()
    }

    /// Waits until at least `count` sleep at the same time, so that [`Self::advance`] wakes them.
    pub async fn until_sleeping(&self, count: usize) {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.state();
            if state.sleeping() >= count {
                return;
            }
            state.watchers.push(Watcher { count, wake });
        }
        woken.await.unwrap_or_default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SettableClock {
    /// A clock at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl State {
    fn set(&mut self, now: Timestamp) {
        self.now = now;
        // Dropping the sender wakes the sleeper.
        self.sleepers.retain(|sleeper| sleeper.until > now);
    }

    fn sleeping(&mut self) -> usize {
        self.sleepers.retain(|sleeper| !sleeper.wake.is_canceled());
        self.sleepers.len()
    }
}

#[async_trait]
impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    async fn sleep(&self, duration: Duration) {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.state();
            let until = state.now.after(duration);
            if until <= state.now {
                return;
            }
            state.sleepers.push(Sleeper { until, wake });
            let sleeping = state.sleeping();
            state
                .watchers
                .retain(|watcher| watcher.count > sleeping && !watcher.wake.is_canceled());
        }
        woken.await.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_the_clock_passes_their_time() {
        let clock = SettableClock::default();
        let start = clock.now();
        let mut short = clock.sleep(Duration::from_secs(5));
        let mut long = clock.sleep(Duration::from_secs(10));
        assert!((&mut short).now_or_never().is_none());
        assert!((&mut long).now_or_never().is_none());
        clock.until_sleeping(2).await;
        clock.advance(Duration::from_secs(5));
        assert!(short.now_or_never().is_some());
        assert!((&mut long).now_or_never().is_none());
        drop(long);
        assert_eq!(clock.sleeping(), 0);
        assert_eq!(clock.now().since(start), Duration::from_secs(5));
    }
}
