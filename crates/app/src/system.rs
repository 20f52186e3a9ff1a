//! The clock, the randomness and the wake-ups of a process.

use std::time::Duration;

use async_trait::async_trait;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::wakeup::{Wakeup, Worker};
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

/// One generator per thread, seeded by the operating system.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// Wakes the background workers, one notification for each of them.
#[derive(Default)]
pub struct WorkerWakeups {
    outbox: Notify,
    indexing: Notify,
    parsing: Notify,
    replay: Notify,
}

impl WorkerWakeups {
    /// Returns at the next wake-up of `worker`, or at once if it was woken before.
    pub async fn woken(&self, worker: Worker) {
        self.of(worker).notified().await;
    }

    fn of(&self, worker: Worker) -> &Notify {
        match worker {
            Worker::Outbox => &self.outbox,
            Worker::Indexing => &self.indexing,
            Worker::Parsing => &self.parsing,
            Worker::Replay => &self.replay,
        }
    }
}

impl Wakeup for WorkerWakeups {
    fn wake(&self, worker: Worker) {
        self.of(worker).notify_one();
    }
}
