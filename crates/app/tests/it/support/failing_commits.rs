//! Commits of publications that fail: a wrapper of the port.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coredock::adapters::Adapters;
use coredock_domain::audit::Change;
use coredock_domain::error::RepositoryError;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::publication::{
    BeginPublication, PublicationStart, PublishVersion, Published,
};
use coredock_domain::ids::UploadId;
use coredock_domain::timestamp::Timestamp;

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// Nothing is committed.
    Before,
    /// The commit succeeds, but the connection breaks before the answer.
    After,
}

/// Fails commits on demand.
#[derive(Default)]
pub(crate) struct FailingCommits {
    next: Mutex<Option<CommitFault>>,
}

impl FailingCommits {
    /// Makes the next publication fail at its commit.
    pub(crate) fn fail_next(&self, fault: CommitFault) {
        *self.next.lock().unwrap() = Some(fault);
    }

    /// Wraps the repository in `adapters`.
    pub(crate) fn wrap(self: &Arc<Self>, mut adapters: Adapters) -> Adapters {
        let inner = adapters.rows.publications.clone();
        adapters.rows.publications = Arc::new(Failing { inner, faults: self.clone() });
        adapters
    }
}

struct Failing {
    inner: Arc<dyn PublicationRepository>,
    faults: Arc<FailingCommits>,
}

#[async_trait]
impl PublicationRepository for Failing {
    async fn begin(&self, request: BeginPublication) -> Result<PublicationStart, RepositoryError> {
        self.inner.begin(request).await
    }

    async fn renew(
        &self,
        upload: &UploadId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        self.inner.renew(upload, now, until).await
    }

    async fn end(&self, upload: &UploadId) -> Result<(), RepositoryError> {
        self.inner.end(upload).await
    }

    async fn publish(
        &self,
        publication: PublishVersion,
        change: &Change,
    ) -> Result<Option<Published>, RepositoryError> {
        let fault = self.faults.next.lock().unwrap().take();
        let broken = || RepositoryError::unavailable("firmware.publish", "connection broke");
        match fault {
            None => self.inner.publish(publication, change).await,
            Some(CommitFault::Before) => Err(broken()),
            Some(CommitFault::After) => {
                self.inner.publish(publication, change).await?;
                Err(broken())
            }
        }
    }

    async fn settle(
        &self,
        version_id: i64,
        staging: &UploadId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        self.inner.settle(version_id, staging, now).await
    }

    async fn unsettled(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<FirmwareVersion>, RepositoryError> {
        self.inner.unsettled(now, limit).await
    }
}
