//! The lease under which one upload writes its objects (contract §5.7).

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};

use crate::Clock;
use crate::error::RepositoryError;
use crate::firmware::publication::PublicationRepository;
use crate::ids::UploadId;
use crate::timestamp::Timestamp;

/// After this time without a renewal another upload may take the lease.
pub(crate) const LEASE: Duration = Duration::from_mins(1);
const RENEWAL_INTERVAL: Duration = Duration::from_secs(15);
/// Longer than the lease which a process that died has left.
const MAX_WAIT: Duration = Duration::from_mins(2);
const FIRST_DELAY: Duration = Duration::from_millis(20);
const MAX_DELAY: Duration = Duration::from_millis(100);

/// The lease of an upload ended while it was needed.
#[derive(Debug, thiserror::Error)]
#[error("the lease of the upload ended while it was needed")]
pub struct LeaseLost;

/// The lease of one upload.
pub(crate) struct UploadLease<'a> {
    pub(crate) leases: &'a dyn PublicationRepository,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) upload: &'a UploadId,
}

impl UploadLease<'_> {
    /// Runs `work`, and renews the lease until `work` ends.
    pub(crate) async fn renew_during<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: From<RepositoryError> + From<LeaseLost>,
    {
        let mut work = pin!(work);
        loop {
            match select(work, self.clock.sleep(RENEWAL_INTERVAL)).await {
                Either::Left((outcome, _)) => return outcome,
                Either::Right(((), unfinished)) => work = unfinished,
            }
            let now = self.clock.now();
            if !self.leases.renew(self.upload, now, now.after(LEASE)).await? {
                return Err(LeaseLost.into());
            }
        }
    }

    /// Releases the lease. A failure is only logged, because the lease also ends by itself.
    pub(crate) async fn release(&self) {
        if let Err(error) = self.leases.end(self.upload).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "lease of upload {} could not be released; it ends by itself within a minute",
                self.upload.as_str()
            );
        }
    }
}

/// Waits for a lease which another upload holds.
pub(crate) struct LeaseBackoff<'a> {
    clock: &'a dyn Clock,
    deadline: Timestamp,
    delay: Duration,
}

impl<'a> LeaseBackoff<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, deadline: clock.now().after(MAX_WAIT), delay: FIRST_DELAY }
    }

    /// Waits before the next try, longer every time; `false`, without waiting, when the last try,
    /// at `tried_at`, was after the deadline.
    pub(crate) async fn wait(&mut self, tried_at: Timestamp) -> bool {
        if tried_at >= self.deadline {
            return false;
        }
        self.clock.sleep(self.delay).await;
        self.delay = (self.delay * 2).min(MAX_DELAY);
        true
    }
}
