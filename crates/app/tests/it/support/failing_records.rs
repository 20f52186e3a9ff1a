//! Commits of dumps that fail, and a database that is down for dumps: a wrapper of the port.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coredock::adapters::Adapters;
use coredock_domain::audit::Change;
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::DeviceKey;
use coredock_domain::intake::repository::{
    IntakeRepository, RecordCoredump, Recorded, SameBody, Sender,
};

use super::failing_commits::CommitFault;

/// Fails calls on demand.
#[derive(Default)]
pub(crate) struct FailingRecords {
    next: Mutex<Option<CommitFault>>,
    is_down: AtomicBool,
}

impl FailingRecords {
    /// Makes the next dump, new or counted, fail at its commit.
    pub(crate) fn fail_next(&self, fault: CommitFault) {
        *self.next.lock().unwrap() = Some(fault);
    }

    /// While down, every call for the delivery of a dump fails.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), RepositoryError> {
        if self.is_down.load(Ordering::SeqCst) { Err(broken()) } else { Ok(()) }
    }

    async fn commit<T>(
        &self,
        commit: impl Future<Output = Result<T, RepositoryError>>,
    ) -> Result<T, RepositoryError> {
        self.check()?;
        let fault = self.next.lock().unwrap().take();
        match fault {
            None => commit.await,
            Some(CommitFault::Before) => Err(broken()),
            Some(CommitFault::After) => {
                commit.await?;
                Err(broken())
            }
        }
    }

    /// Wraps the repository in `adapters`.
    pub(crate) fn wrap(self: &Arc<Self>, mut adapters: Adapters) -> Adapters {
        let inner = adapters.rows.deliveries.clone();
        adapters.rows.deliveries = Arc::new(Failing { inner, faults: self.clone() });
        adapters
    }
}

fn broken() -> RepositoryError {
    RepositoryError::unavailable("coredump.record", "connection broke")
}

struct Failing {
    inner: Arc<dyn IntakeRepository>,
    faults: Arc<FailingRecords>,
}

#[async_trait]
impl IntakeRepository for Failing {
    async fn reserve_id(&self) -> Result<i64, RepositoryError> {
        self.faults.check()?;
        self.inner.reserve_id().await
    }

    async fn find_sender(
        &self,
        device: &DeviceKey,
        body: Option<SameBody>,
    ) -> Result<Option<Sender>, RepositoryError> {
        self.faults.check()?;
        self.inner.find_sender(device, body).await
    }

    async fn repeat(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        self.faults.commit(self.inner.repeat(id, change)).await
    }

    async fn find_delivery(&self, change: &Change) -> Result<Option<i64>, RepositoryError> {
        self.faults.check()?;
        self.inner.find_delivery(change).await
    }

    async fn record(
        &self,
        dump: RecordCoredump,
        change: &Change,
    ) -> Result<Recorded, RepositoryError> {
        self.faults.commit(self.inner.record(dump, change)).await
    }
}
