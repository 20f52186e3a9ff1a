//! A wrapper of the artifact store, which counts and times its calls.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::metrics::Metrics;

pub struct MeteredStore {
    inner: Arc<dyn ArtifactStore>,
    backend: &'static str,
    metrics: Metrics,
}

impl MeteredStore {
    /// Counts the calls of `inner` under the name `backend`.
    pub fn new(inner: Arc<dyn ArtifactStore>, backend: &'static str, metrics: Metrics) -> Self {
        Self { inner, backend, metrics }
    }

    fn count<T>(
        &self,
        operation: &str,
        began: Instant,
        outcome: Result<T, ArtifactStoreError>,
    ) -> Result<T, ArtifactStoreError> {
        let status = if outcome.is_ok() { "success" } else { "error" };
        let labels = [self.backend, operation, status];
        self.metrics.storage_operations.with_label_values(&labels).inc();
        let seconds = began.elapsed().as_secs_f64();
        let labels = [self.backend, operation];
        self.metrics.storage_seconds.with_label_values(&labels).observe(seconds);
        outcome
    }
}

#[async_trait]
impl ArtifactStore for MeteredStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let began = Instant::now();
        let stored = self.count("put", began, self.inner.put(key, body).await)?;
        self.metrics.storage_bytes.with_label_values(&[self.backend, "in"]).inc_by(body.length());
        Ok(stored)
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let began = Instant::now();
        let opened = self.count("open", began, self.inner.open(key, range).await)?;
        let bytes = self.metrics.storage_bytes.with_label_values(&[self.backend, "out"]);
        Ok(opened.map(|artifact| {
            let body = artifact.body.inspect(move |piece| {
                if let Ok(piece) = piece {
                    bytes.inc_by(piece.len() as u64);
                }
            });
            Artifact { stored: artifact.stored, body: body.boxed() }
        }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let began = Instant::now();
        self.count("copy", began, self.inner.copy(from, to).await)
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let began = Instant::now();
        self.count("delete", began, self.inner.delete(keys).await)
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        self.inner.list(prefix)
    }
}
