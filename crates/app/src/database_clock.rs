//! One time for all processes on a database server.
//!
//! Leases end at an instant which another process compares with its own clock. If two clocks
//! disagree, or one of them is changed, a lease ends early or never. So the time is that of the
//! database server: it is read from time to time, and the monotonic clock continues it in between.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use coredock_domain::Clock;
use coredock_domain::error::RepositoryError;
use coredock_domain::timestamp::Timestamp;
use coredock_repository::Database;

use crate::system::SystemClock;

/// A slower answer is too imprecise.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(1);

/// The time of the database server; until the first reading, the time of this machine.
#[derive(Default)]
pub struct DatabaseClock {
    known: RwLock<Option<(Instant, Timestamp)>>,
}

impl DatabaseClock {
    pub async fn read(&self, database: &Database) -> Result<ClockReading, RepositoryError> {
        let asked = Instant::now();
        let Some(time) = database.shared_time().await? else { return Ok(ClockReading::NoServer) };
        let answered = Instant::now();
        let took = answered.duration_since(asked);
        if took > MAX_ANSWER_TIME {
            return Ok(ClockReading::TooSlow { took });
        }
        self.set(answered, time.after(took / 2));
        Ok(ClockReading::Used)
    }

    fn set(&self, at: Instant, time: Timestamp) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((at, time));
    }
}

/// The outcome of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockReading {
    Used,
    /// The answer took longer than `MAX_ANSWER_TIME`; the previous reading is still used.
    TooSlow {
        took: Duration,
    },
    /// The database is a file.
    NoServer,
}

#[async_trait]
impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        match *self.known.read().unwrap_or_else(PoisonError::into_inner) {
            Some((at, time)) => time.after(at.elapsed()),
            None => SystemClock.now(),
        }
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_continues_from_the_reading_of_the_server() {
        let clock = DatabaseClock::default();
        let before = clock.now();
        assert!(SystemClock.now().since(before) < Duration::from_secs(5), "not read yet");
        let read = Timestamp::from_micros(1_000_000);
        let asked = Instant::now();
        clock.set(asked, read);
        let (now, most) = (clock.now(), read.after(asked.elapsed()));
        assert!(read <= now && now <= most.after(Duration::from_millis(1)), "{now:?}");
    }
}
