//! The port to the artifact store.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::{ArtifactKey, ArtifactPrefix};
use crate::digest::Sha256Digest;
use crate::timestamp::Timestamp;

/// Stores whole objects under [`ArtifactKey`]s. A missing object is `None`, never an error; an
/// outage is an error, never `None` (I14).
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Stores `body` under `key`, replacing an existing object. When this returns, the object is
    /// durable and its length and SHA-256 are those of `body`; no reader ever sees a part of it.
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError>;

    /// Opens the bytes of `range`; size and identity are known before the first byte. `None` when
    /// the object does not exist. A range that ends beyond the object is cut at its end.
    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError>;

    /// Copies `from` to `to`, replacing an existing object; durable when this returns. `NotFound`
    /// when `from` does not exist.
    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError>;

    /// Deletes the objects; missing objects count as deleted. After an error some may be deleted.
    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError>;

    /// Every object below `prefix`, foreign ones too, in any order.
    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>>;
}

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactStoreError {
    /// The source of a copy is missing, for certain.
    #[error("object {key} does not exist")]
    NotFound { key: String },
    /// The object contains other bytes than were stored.
    #[error("expected SHA-256 {expected} of object {key}, found {found}")]
    Damaged { key: String, expected: Sha256Digest, found: Sha256Digest },
    /// The store is down, too slow, full, or answered with an error.
    #[error("artifact store could not {operation} {key}")]
    Unavailable {
        /// `put`, `open`, `read`, `copy`, `delete`, `list`.
        operation: &'static str,
        /// Path of the object or prefix.
        key: String,
        /// Whether the store may still carry out the operation, because it did not answer.
        open: bool,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ArtifactStoreError {
    /// A failure of `operation` on `key` which the store may still carry out.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass keys, references and texts")]
    pub fn unavailable(
        operation: &'static str,
        key: impl ToString,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (key, source) = (key.to_string(), Arc::from(source.into()));
        Self::Unavailable { operation, key, open: true, source }
    }

    /// The same failure of an operation that has ended, with or without effect.
    #[must_use]
    pub fn ended(mut self) -> Self {
        if let Self::Unavailable { open, .. } = &mut self {
            *open = false;
        }
        self
    }

    /// Whether the store may still carry out the operation.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Unavailable { open: true, .. })
    }
}

/// Length and digest of one artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactFacts {
    /// Length in bytes.
    pub size: u64,
    pub sha256: Sha256Digest,
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    Full,
    /// From `start` up to, not including, `end`; `start < end`.
    Part {
        start: u64,
        /// Offset behind the last byte.
        end: u64,
    },
}

impl ByteRange {
    /// The offsets within an object of `size` bytes, cut at its end.
    pub fn within(self, size: u64) -> Range<u64> {
        match self {
            Self::Full => 0..size,
            Self::Part { start, end } => start.min(size)..end.min(size),
        }
    }
}

/// An object as the store describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Length in bytes.
    pub size: u64,
    /// Changes with the object (an `ETag`): two reads with the same identity read the same bytes.
    pub identity: String,
    /// The digest in the metadata of the object, if the store has metadata.
    pub sha256: Option<Sha256Digest>,
}

/// An opened object.
pub struct Artifact {
    /// Describes the whole object.
    pub stored: StoredArtifact,
    /// The bytes of the requested range, in pieces of at most 64 KiB.
    pub body: BoxStream<'static, Result<Bytes, ArtifactStoreError>>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The path of a foreign object does not parse as an [`ArtifactKey`].
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

/// Reads a whole small object into memory; `None` when it does not exist. `Unavailable` when it is
/// larger than `limit` bytes or ends early.
pub async fn read_all(
    store: &dyn ArtifactStore,
    key: &ArtifactKey,
    limit: u64,
) -> Result<Option<Bytes>, ArtifactStoreError> {
    let Some(mut artifact) = store.open(key, ByteRange::Full).await? else { return Ok(None) };
    if artifact.stored.size > limit {
        let error = format!("object has {} bytes, at most {limit} expected", artifact.stored.size);
        return Err(ArtifactStoreError::unavailable("read", key, error));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = artifact.body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    if bytes.len() as u64 != artifact.stored.size {
        return Err(ArtifactStoreError::unavailable("read", key, "object ended early"));
    }
    Ok(Some(Bytes::from(bytes)))
}
