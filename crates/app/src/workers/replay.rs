//! Replays rescued dumps.

use std::time::Duration;

use coredock_domain::wakeup::Worker;

use super::{Workers, warn};

/// The first replay after a dump was rescued; the wait doubles from then on.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(15);

impl Workers {
    /// Replays rescued dumps as soon as store and database work again. Also looks without a wake-up:
    /// processes which share the directory leave theirs when they die.
    pub(super) async fn replay(&self) {
        let mut wait = MIN_WAIT;
        loop {
            let waiting = match self.features.intake.replay().await {
                Ok(round) => {
                    self.features
                        .metrics
                        .rescue_pending
                        .set(i64::try_from(round.waiting).unwrap_or(i64::MAX));
                    if round.replayed > 0 {
                        wait = MIN_WAIT;
                    }
                    round.waiting > 0
                }
                Err(error) => {
                    warn("the rescue spool could not be listed; its dumps wait", &error);
                    true
                }
            };
            if waiting {
                self.clock.sleep(wait).await;
                wait = MAX_WAIT.min(wait * 2);
                continue;
            }
            wait = MIN_WAIT;
            tokio::select! {
                // What has just failed is not tried again at once.
                () = self.features.wakeups.woken(Worker::Replay) => self.clock.sleep(wait).await,
                () = self.clock.sleep(MAX_WAIT) => {}
            }
        }
    }
}
