//! One time for all processes on a database server.
//!
//! Leases end at an instant that another process compares with its own clock. With two clocks that
//! disagree, or one that is set, a lease would end early or never. So the time is that of the
//! database server, asked for now and then and carried on by the monotonic clock in between.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use coredock_domain::Clock;
use coredock_domain::error::RepositoryError;
use coredock_domain::timestamp::Timestamp;
use coredock_repository::Database;

use crate::system::SystemClock;

/// An answer that took longer tells the time too roughly.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// The time of the database server; that of this machine until it was asked for once.
#[derive(Default)]
pub struct DatabaseClock {
    known: RwLock<Option<(Instant, Timestamp)>>,
}

impl DatabaseClock {
    /// Asks the server; `false` when it answered too slowly to be believed.
    pub async fn ask(&self, database: &Database) -> Result<bool, RepositoryError> {
        let asked = Instant::now();
        let Some(told) = database.shared_time().await? else { return Ok(false) };
        let answered = Instant::now();
        let took = answered.duration_since(asked);
        if took > SLOWEST_ANSWER {
            return Ok(false);
        }
        self.set(answered, told.after(took / 2));
        Ok(true)
    }

    fn set(&self, at: Instant, time: Timestamp) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((at, time));
    }
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
    fn the_time_goes_on_from_what_the_server_told() {
        let clock = DatabaseClock::default();
        let before = clock.now();
        assert!(SystemClock.now().since(before) < Duration::from_secs(5), "not asked yet");
        let told = Timestamp::from_micros(1_000_000);
        let asked = Instant::now();
        clock.set(asked, told);
        let (now, most) = (clock.now(), told.after(asked.elapsed()));
        assert!(told <= now && now <= most.after(Duration::from_millis(1)), "{now:?}");
    }
}
