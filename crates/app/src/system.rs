//! The clock, the randomness and the wake-ups of a process.

use std::time::Duration;

use async_trait::async_trait;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::wakeup::Wakeup;
use coredock_domain::{Clock, Entropy};
use rand::Rng;
use tokio::sync::Notify;

pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A generator per thread, seeded by the operating system.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// Wakes the worker that waits on it.
#[derive(Default)]
pub struct WorkerWakeup(Notify);

impl WorkerWakeup {
    /// Returns when somebody called [`Wakeup::wake`], at once if that was before.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

impl Wakeup for WorkerWakeup {
    fn wake(&self) {
        self.0.notify_one();
    }
}
