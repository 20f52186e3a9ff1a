//! Opens stored artifacts, verifies them and resumes interrupted transfers (contract §5.12).
//!
//! A row is trusted, an object is not: before the first byte is returned, length and SHA-256 of the
//! object are compared with the row. If the store has no metadata, the object is hashed once, and
//! the digest is remembered for its identity. Metadata says what was written, not what is read: an
//! object that is read whole is hashed meanwhile, and its last piece is returned only if the digest
//! is right.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use moka::sync::Cache;

use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::{
    Artifact, ArtifactFacts, ArtifactStore, ArtifactStoreError, ByteRange,
};
use crate::clock::Clock;
use crate::digest::{RunningSha256, Sha256Digest};

/// How often a transfer is resumed at the offset at which it was interrupted.
const MAX_RESUMES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Objects whose digest is remembered.
const MAX_KNOWN_DIGESTS: u64 = 10_000;

/// The bytes of an opened artifact.
pub type ArtifactBytes = BoxStream<'static, Result<Bytes, ArtifactStoreError>>;

/// The outcome of opening the object of a row.
pub enum OpenedObject {
    /// The bytes of the range; the object is the one which the row describes.
    Bytes(ArtifactBytes),
    Missing,
    /// Length or SHA-256 differ from the row.
    Different,
}

/// The outcome of reading the object of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadObject {
    /// The whole object, which is the one that the row describes.
    Bytes(Bytes),
    Missing,
    /// Length or SHA-256 differ from the row.
    Different,
}

/// Counts of interrupted transfers.
#[derive(Debug, Default)]
pub struct ResumeCounts {
    pub resumed: AtomicU64,
    /// Transfers which ended with an error.
    pub failed: AtomicU64,
}

/// Opens objects and compares them with their rows.
#[derive(Clone)]
pub struct VerifiedReads {
    store: Arc<dyn ArtifactStore>,
    clock: Arc<dyn Clock>,
    /// The digests of hashed objects by key and identity.
    known_digests: Cache<(ArtifactKey, String), Sha256Digest>,
    resumes: Arc<ResumeCounts>,
}

impl VerifiedReads {
    /// `clock` measures the waits before a transfer is resumed.
    pub fn new(store: Arc<dyn ArtifactStore>, clock: Arc<dyn Clock>) -> Self {
        let known_digests = Cache::new(MAX_KNOWN_DIGESTS);
        Self { store, clock, known_digests, resumes: Arc::default() }
    }

    /// The same reads through another handle of the same store: digests and counts are shared.
    #[must_use]
    pub fn through(&self, store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, ..self.clone() }
    }

    /// How many interrupted transfers were resumed, and how many were not.
    pub fn resumes(&self) -> &ResumeCounts {
        &self.resumes
    }

    /// Opens `range` of the object under `key` if its length and digest are those in `facts`.
    pub async fn open(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
        range: Range<u64>,
    ) -> Result<OpenedObject, ArtifactStoreError> {
        let Some(artifact) = self.store.open(key, part(&range)).await? else {
            return Ok(OpenedObject::Missing);
        };
        if artifact.stored.size != facts.size {
            return Ok(OpenedObject::Different);
        }
        match self.known_digest(key, &artifact) {
            Some(sha256) if sha256 == facts.sha256 => {
                let has_metadata = artifact.stored.sha256.is_some();
                let check =
                    (has_metadata && range == (0..facts.size)).then(|| Check::new(facts.sha256));
                Ok(OpenedObject::Bytes(self.resumable(key, artifact, range, check)))
            }
            Some(_) => Ok(OpenedObject::Different),
            None => self.open_unknown(key, facts, range).await,
        }
    }

    /// Reads the object under `key` into memory if its length and digest are those in `facts`. It
    /// is hashed meanwhile; its digest is not remembered.
    pub async fn read(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
    ) -> Result<ReadObject, ArtifactStoreError> {
        let Some(artifact) = self.store.open(key, ByteRange::Full).await? else {
            return Ok(ReadObject::Missing);
        };
        let metadata = artifact.stored.sha256;
        if artifact.stored.size != facts.size
            || metadata.is_some_and(|sha256| sha256 != facts.sha256)
        {
            return Ok(ReadObject::Different);
        }
        let check = Check::new(facts.sha256);
        let mut pieces = self.resumable(key, artifact, 0..facts.size, Some(check));
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(whole) if whole.len() as u64 == facts.size => {
                    return Ok(ReadObject::Bytes(whole));
                }
                Ok(piece) => bytes.extend_from_slice(&piece),
                // Without metadata nothing says that the right object was ever stored.
                Err(ArtifactStoreError::Damaged { .. }) if metadata.is_none() => {
                    return Ok(ReadObject::Different);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ReadObject::Bytes(bytes.freeze()))
    }

    /// Whether an object is stored under `key` whose length and digest are those in `facts`.
    pub async fn is_stored(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
    ) -> Result<bool, ArtifactStoreError> {
        let opened = self.open(key, facts, 0..facts.size.min(1)).await?;
        Ok(matches!(opened, OpenedObject::Bytes(_)))
    }

    /// Length and bytes of the whole object under `key`; `None` when it is missing or its digest is
    /// not `sha256`.
    pub async fn open_whole(
        &self,
        key: &ArtifactKey,
        sha256: Sha256Digest,
    ) -> Result<Option<(u64, ArtifactBytes)>, ArtifactStoreError> {
        let first_byte = ByteRange::Part { start: 0, end: 1 };
        let Some(artifact) = self.store.open(key, first_byte).await? else { return Ok(None) };
        let size = artifact.stored.size;
        match self.open(key, ArtifactFacts { size, sha256 }, 0..size).await? {
            OpenedObject::Bytes(bytes) => Ok(Some((size, bytes))),
            OpenedObject::Missing | OpenedObject::Different => Ok(None),
        }
    }

    fn known_digest(&self, key: &ArtifactKey, artifact: &Artifact) -> Option<Sha256Digest> {
        let identity = artifact.stored.identity.clone();
        artifact.stored.sha256.or_else(|| self.known_digests.get(&(key.clone(), identity)))
    }

    /// Hashes the whole object first, then opens the range.
    async fn open_unknown(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
        range: Range<u64>,
    ) -> Result<OpenedObject, ArtifactStoreError> {
        let Some(whole) = self.store.open(key, ByteRange::Full).await? else {
            return Ok(OpenedObject::Missing);
        };
        let identity = whole.stored.identity.clone();
        let size = whole.stored.size;
        let mut bytes = self.resumable(key, whole, 0..size, None);
        let mut hash = RunningSha256::default();
        while let Some(piece) = bytes.next().await {
            hash.update(&piece?);
        }
        let (_, sha256) = hash.finish();
        self.known_digests.insert((key.clone(), identity.clone()), sha256);
        if sha256 != facts.sha256 {
            return Ok(OpenedObject::Different);
        }
        match self.store.open(key, part(&range)).await? {
            None => Ok(OpenedObject::Missing),
            Some(artifact) if artifact.stored.identity != identity => Ok(OpenedObject::Different),
            Some(artifact) => Ok(OpenedObject::Bytes(self.resumable(key, artifact, range, None))),
        }
    }

    fn resumable(
        &self,
        key: &ArtifactKey,
        artifact: Artifact,
        range: Range<u64>,
        check: Option<Check>,
    ) -> ArtifactBytes {
        let transfer = Transfer {
            reads: self.clone(),
            key: key.clone(),
            identity: artifact.stored.identity,
            body: artifact.body,
            range,
            check,
            attempts: 0,
        };
        futures::stream::try_unfold(transfer, Transfer::next).boxed()
    }
}

/// `range` as a part, or all of an empty object, which has no parts.
fn part(range: &Range<u64>) -> ByteRange {
    if range.is_empty() {
        ByteRange::Full
    } else {
        ByteRange::Part { start: range.start, end: range.end }
    }
}

/// A read under way.
struct Transfer {
    reads: VerifiedReads,
    key: ArtifactKey,
    identity: String,
    body: ArtifactBytes,
    /// The bytes which were not returned yet.
    range: Range<u64>,
    check: Option<Check>,
    attempts: u32,
}

struct Check {
    /// Over the bytes read so far.
    hash: RunningSha256,
    /// The expected digest of the whole object.
    sha256: Sha256Digest,
}

impl Check {
    fn new(sha256: Sha256Digest) -> Self {
        Self { hash: RunningSha256::default(), sha256 }
    }
}

impl Transfer {
    /// The next piece; an error when the object could not be read to the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ArtifactStoreError> {
        while self.range.start < self.range.end {
            let failure = match self.body.next().await {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(mut piece)) => {
                    let left = self.range.end - self.range.start;
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    self.range.start += piece.len() as u64;
                    self.check_piece(&piece)?;
                    return Ok(Some((piece, self)));
                }
                Some(Err(error)) => error,
                None => ArtifactStoreError::unavailable("read", &self.key, "object ended early"),
            };
            self.resume(failure).await?;
        }
        Ok(None)
    }

    /// Hashes a piece; `Damaged` when it is the last one and the digest of the object is wrong.
    fn check_piece(&mut self, piece: &Bytes) -> Result<(), ArtifactStoreError> {
        let Some(check) = &mut self.check else { return Ok(()) };
        check.hash.update(piece);
        if self.range.start < self.range.end {
            return Ok(());
        }
        let Some(check) = self.check.take() else { return Ok(()) };
        let (expected, (_, found)) = (check.sha256, check.hash.finish());
        if found == expected {
            return Ok(());
        }
        Err(ArtifactStoreError::Damaged { key: self.key.to_string(), expected, found })
    }

    /// Opens the rest of the same object; the last failure when that is not possible.
    async fn resume(&mut self, mut failure: ArtifactStoreError) -> Result<(), ArtifactStoreError> {
        while self.attempts < MAX_RESUMES {
            self.reads.clock.sleep(FIRST_BACKOFF * 4_u32.pow(self.attempts)).await;
            self.attempts += 1;
            let rest = ByteRange::Part { start: self.range.start, end: self.range.end };
            match self.reads.store.open(&self.key, rest).await {
                Ok(Some(artifact)) if artifact.stored.identity == self.identity => {
                    self.reads.resumes.resumed.fetch_add(1, Ordering::Relaxed);
                    self.body = artifact.body;
                    return Ok(());
                }
                Ok(_) => break,
                Err(error) => failure = error,
            }
        }
        self.reads.resumes.failed.fetch_add(1, Ordering::Relaxed);
        Err(failure)
    }
}
