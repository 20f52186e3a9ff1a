//! An artifact store that fails when told to.

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
use script::{Due, Script};

/// Wraps a store; passes every call on unless a [`FaultRule`] says otherwise, and remembers them.
pub struct FaultyStore {
    inner: Arc<dyn ArtifactStore>,
    script: Mutex<Script>,
}

impl FaultyStore {
    /// Without faults at first.
    pub fn new(inner: Arc<dyn ArtifactStore>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// Adds a rule; calls are counted for it from now on.
    pub fn inject(&self, rule: FaultRule) {
        self.script().add(rule);
    }

    /// Removes every rule.
    pub fn clear_faults(&self) {
        self.script().clear();
    }

    /// While down, every call fails and nothing happens. Bodies already open go on.
    pub fn set_down(&self, down: bool) {
        self.script().set_down(down);
    }

    /// Every call so far, failed ones too.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls().to_vec()
    }

    /// How often `operation` was called so far.
    pub fn count(&self, operation: Operation) -> usize {
        self.script().calls().iter().filter(|call| call.operation == operation).count()
    }

    /// How many calls faults befell so far.
    pub fn faults_met(&self) -> usize {
        self.script().faults_met()
    }

    /// Forgets the calls so far; the counts of rules stay.
    pub fn forget_calls(&self) {
        self.script().forget_calls();
    }

    fn meet(&self, operation: Operation, keys: Vec<String>) -> Due {
        self.script().meet(Call { operation, keys })
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
        let due = self.meet(Operation::Put, vec![key.to_string()]);
        due.before().await?;
        let stored = self.inner.put(key, body).await?;
        due.after()?;
        Ok(stored)
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let due = self.meet(Operation::Open, vec![key.to_string()]);
        due.before().await?;
        let opened = self.inner.open(key, range).await?;
        due.after()?;
        Ok(opened.map(|artifact| Artifact { body: ending(artifact.body, &due), ..artifact }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let due = self.meet(Operation::Copy, vec![from.to_string(), to.to_string()]);
        due.before().await?;
        self.inner.copy(from, to).await?;
        due.after()
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let due = self.meet(Operation::Delete, keys.iter().map(ToString::to_string).collect());
        due.before().await?;
        self.inner.delete(keys).await?;
        due.after()
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let due = self.meet(Operation::List, vec![prefix.as_str().to_owned()]);
        let listing = async move {
            due.before().await?;
            let end = async move { due.after() }.map_ok(|()| stream::empty()).try_flatten_stream();
            Ok(self.inner.list(prefix).chain(end))
        };
        listing.try_flatten_stream().boxed()
    }
}

/// The body as long as the due faults let it be.
fn ending(
    body: BoxStream<'static, Result<Bytes, ArtifactStoreError>>,
    due: &Due,
) -> BoxStream<'static, Result<Bytes, ArtifactStoreError>> {
    let Some((after_bytes, error)) = due.end_of_body() else { return body };
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
