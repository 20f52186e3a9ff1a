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

/// How long an upload may be silent before others may take over.
pub(crate) const LEASE: Duration = Duration::from_mins(1);
const RENEWAL: Duration = Duration::from_secs(15);
/// Longer than the lease of a process that died in the middle.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The lease ran out while it was needed.
#[derive(Debug, thiserror::Error)]
#[error("the lease of the upload was lost")]
pub struct LeaseLost;

/// The lease of one upload.
pub(crate) struct UploadLease<'a> {
    pub(crate) leases: &'a dyn PublicationRepository,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) upload: &'a UploadId,
}

impl UploadLease<'_> {
    /// Runs `work`, extending the lease until it ends.
    pub(crate) async fn keep<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: From<RepositoryError> + From<LeaseLost>,
    {
        let mut work = pin!(work);
        loop {
            match select(work, self.clock.sleep(RENEWAL)).await {
                Either::Left((outcome, _)) => return outcome,
                Either::Right(((), unfinished)) => work = unfinished,
            }
            let now = self.clock.now();
            if !self.leases.renew(self.upload, now, now.after(LEASE)).await? {
                return Err(LeaseLost.into());
            }
        }
    }

    /// A lease that cannot be given back ends by itself.
    pub(crate) async fn give_back(&self) {
        if let Err(error) = self.leases.end(self.upload).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the lease of an upload could not be given back; it ends by itself within a minute"
            );
        }
    }
}

/// The wait for a lease that others keep busy.
pub(crate) struct Wait<'a> {
    clock: &'a dyn Clock,
    deadline: Timestamp,
    pause: Duration,
}

impl<'a> Wait<'a> {
    /// Begins now.
    pub(crate) fn begin(clock: &'a dyn Clock) -> Self {
        Self { clock, deadline: clock.now().after(LONGEST_WAIT), pause: FIRST_PAUSE }
    }

    /// Returns when it is time to ask again, longer every time; `false` when the last question, of
    /// `asked`, was one too many.
    pub(crate) async fn again(&mut self, asked: Timestamp) -> bool {
        if asked >= self.deadline {
            return false;
        }
        self.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
