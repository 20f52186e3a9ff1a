//! The port to where bytes lie.

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

/// Stores whole objects under [`ArtifactKey`]s. Absence is `None`, never an error; an outage is an
/// error, never `None` (I14).
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Stores `body` under `key`, replacing what was there. When it returns the object is durable
    /// and its length and SHA-256 are those of `body`; no reader ever sees a part of it.
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError>;

    /// Opens the bytes of `range`; size and identity are known before the first byte. `None` when
    /// there is no such object. A range that reaches past the end is cut there.
    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError>;

    /// Makes `to` the same object as `from`, replacing what was there; durable when it returns.
    /// `NotFound` when there is no `from`.
    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError>;

    /// Deletes the objects; absent keys count as deleted. On an error some may be deleted.
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
    /// The source of a copy is positively absent.
    #[error("object {key} does not exist")]
    NotFound {
        /// Path of the missing object.
        key: String,
    },
    /// Other bytes came out than went in.
    #[error("object {key} is not what was stored")]
    Damaged {
        /// Path of the object.
        key: String,
    },
    /// The store is down, too slow, full, or answered with an error.
    #[error("artifact store could not {operation} {key}")]
    Unavailable {
        /// `put`, `open`, `read`, `copy`, `delete`, `list`.
        operation: &'static str,
        /// Path of the object or prefix.
        key: String,
        /// Whether the store may still carry it out: it was asked, and gave no answer.
        open: bool,
        /// What the store said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ArtifactStoreError {
    /// An outage met during `operation` on `key`. What was asked for may still happen.
    #[expect(clippy::needless_pass_by_value, reason = "keys, references to them and texts alike")]
    pub fn unavailable(
        operation: &'static str,
        key: impl ToString,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (key, source) = (key.to_string(), Arc::from(source.into()));
        Self::Unavailable { operation, key, open: true, source }
    }

    /// The same failure of an operation that has ended, one way or another.
    #[must_use]
    pub fn ended(mut self) -> Self {
        if let Self::Unavailable { open, .. } = &mut self {
            *open = false;
        }
        self
    }

    /// Whether the store may still carry out what was asked for.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Unavailable { open: true, .. })
    }
}

/// Length and digest of one artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactFacts {
    /// Length in bytes.
    pub size: u64,
    /// Digest of the whole content.
    pub sha256: Sha256Digest,
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of them.
    Full,
    /// From `start` up to, not including, `end`; `start < end`.
    Part {
        /// Offset of the first byte.
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

/// What a store knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Length in bytes.
    pub size: u64,
    /// Changes whenever the object does (an `ETag`): two reads with the same identity read the same
    /// bytes.
    pub identity: String,
    /// The digest the store keeps with the object, where it has metadata.
    pub sha256: Option<Sha256Digest>,
}

/// An opened object: what it is, and the bytes of the range asked for, in pieces of at most 64 KiB.
pub struct Artifact {
    /// The whole object.
    pub stored: StoredArtifact,
    /// The bytes of the range.
    pub body: BoxStream<'static, Result<Bytes, ArtifactStoreError>>,
}

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its path; foreign objects have paths that are no [`ArtifactKey`].
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

/// The whole object in memory, or `None` when it is absent. For small objects: fails with
/// `Unavailable` when it is larger than `limit` bytes or ends early.
pub async fn read_all(
    store: &dyn ArtifactStore,
    key: &ArtifactKey,
    limit: u64,
) -> Result<Option<Bytes>, ArtifactStoreError> {
    let Some(mut artifact) = store.open(key, ByteRange::Full).await? else { return Ok(None) };
    if artifact.stored.size > limit {
        return Err(ArtifactStoreError::unavailable("read", key, "object is larger than expected"));
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
