//! Prepares database and store at start-up, and tries again until they are reachable: an
//! unreachable server does not end the process, which listens meanwhile and reports that it is not
//! ready (contract §14.1). The sequence of the start is in `cli/serve.rs`.

use std::time::Duration;

use coredock_domain::Upkeep;

use super::{Backends, OpenError};

const RETRY: Duration = Duration::from_secs(2);
/// How often the time of the database is asked for.
const TIME_INTERVAL: Duration = Duration::from_secs(30);

/// Which of the backends are ready.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preparation {
    database: bool,
    store: bool,
}

impl Preparation {
    /// Tries once what is not ready yet. An error is one which waiting does not mend.
    pub async fn advance(
        self,
        backends: &Backends,
        upkeep: &Upkeep,
        migrate: bool,
    ) -> Result<Self, OpenError> {
        let mut ready = self;
        if !ready.database {
            match backends.prepare_database(migrate).await {
                Ok(prepared) => ready.database = prepared,
                Err(error) if error.is_outage() => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "the database is unreachable; the start is retried every 2 s"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        // The mark in the store names the installation, which the database knows.
        if ready.database && !ready.store {
            ready.store = backends.prepare_store(upkeep).await;
        }
        Ok(ready)
    }

    /// Tries again until both are ready and reads the time of the database regularly; returns an error
    /// which waiting does not mend.
    pub async fn continue_until_error(
        self,
        backends: &Backends,
        upkeep: &Upkeep,
        migrate: bool,
    ) -> OpenError {
        let (mut ready, clock) = (self, &backends.adapters.clock);
        let mut asked = Duration::ZERO;
        loop {
            let pause = if ready.database && ready.store { TIME_INTERVAL } else { RETRY };
            clock.sleep(pause).await;
            asked += pause;
            if ready.database && asked >= TIME_INTERVAL {
                backends.ask_time().await;
                asked = Duration::ZERO;
            }
            match ready.advance(backends, upkeep, migrate).await {
                Ok(advanced) => ready = advanced,
                Err(error) => return error,
            }
        }
    }
}
