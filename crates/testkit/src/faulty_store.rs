//! An artifact store with injected faults.

mod script;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};

pub use script::{Call, Fault, FaultRule, Operation};
use script::{CallFaults, Script};

/// Passes every call on to another store unless a [`FaultRule`] applies, and records all calls.
pub struct FaultyStore {
    inner: Arc<dyn ArtifactStore>,
    script: Mutex<Script>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn ArtifactStore>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// Adds a rule, which counts calls from now on.
    pub fn inject(&self, rule: FaultRule) {
        self.script().add(rule);
    }

    /// Removes every rule.
    pub fn clear_faults(&self) {
        self.script().clear();
    }

    /// While the store is down, every call fails without effect. Open bodies stay readable.
    pub fn set_down(&self, down: bool) {
        self.script().set_down(down);
    }

    /// Every call so far, failed calls included.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls().to_vec()
    }

    /// Number of calls of `operation` so far.
    pub fn count(&self, operation: Operation) -> usize {
        self.script().calls().iter().filter(|call| call.operation == operation).count()
    }

    /// Number of calls with a fault so far.
    pub fn faulty_calls(&self) -> usize {
        self.script().faulty_calls()
    }

    /// Removes the recorded calls; the counts of rules stay.
    pub fn clear_calls(&self) {
        self.script().clear_calls();
    }

    fn begin(&self, operation: Operation, keys: Vec<String>) -> CallFaults {
        self.script().begin(Call { operation, keys })
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ArtifactStore for FaultyStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let faults = self.begin(Operation::Put, vec![key.to_string()]);
        faults.before().await?;
        let stored = self.inner.put(key, body).await?;
        faults.after()?;
        Ok(stored)
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let faults = self.begin(Operation::Open, vec![key.to_string()]);
        faults.before().await?;
        let opened = self.inner.open(key, range).await?;
        faults.after()?;
        Ok(opened.map(|artifact| Artifact { body: ending(artifact.body, &faults), ..artifact }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let faults = self.begin(Operation::Copy, vec![from.to_string(), to.to_string()]);
        faults.before().await?;
        self.inner.copy(from, to).await?;
        faults.after()
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let faults = self.begin(Operation::Delete, keys.iter().map(ToString::to_string).collect());
        faults.before().await?;
        self.inner.delete(keys).await?;
        faults.after()
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let faults = self.begin(Operation::List, vec![prefix.as_str().to_owned()]);
        let listing = async move {
            faults.before().await?;
            let end =
                async move { faults.after() }.map_ok(|()| stream::empty()).try_flatten_stream();
            Ok(self.inner.list(prefix).chain(end))
        };
        listing.try_flatten_stream().boxed()
    }
}

/// Ends the body where a fault ends it.
fn ending(
    body: BoxStream<'static, Result<Bytes, ArtifactStoreError>>,
    faults: &CallFaults,
) -> BoxStream<'static, Result<Bytes, ArtifactStoreError>> {
    let Some((after_bytes, error)) = faults.end_of_body() else { return body };
    let state = (body, after_bytes, error);
    let cut = stream::try_unfold(state, |(mut body, rest, error)| async move {
        if rest == 0 {
            return error.map_or(Ok(None), Err);
        }
        let Some(mut piece) = body.try_next().await? else { return Ok(None) };
        piece.truncate(usize::try_from(rest).unwrap_or(usize::MAX));
        let rest = rest - piece.len() as u64;
        Ok(Some((piece, (body, rest, error))))
    });
    cut.boxed()
}
