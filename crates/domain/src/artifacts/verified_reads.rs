//! Opens stored artifacts and reads them to the last byte (contract §5.12).
//!
//! A row is trusted, an object is not: before the first byte is handed out, length and SHA-256 of
//! the object are compared with the row. Stores without metadata are hashed once per object; after
//! that its identity vouches for it. Metadata vouches only for what was written: an object that is
//! read whole is hashed on the way, and its last piece is handed out only if it is the right one.

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

/// How often a read that broke off is taken up again at the failed offset.
const RESUMES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Objects whose hash is remembered.
const VOUCHED_OBJECTS: u64 = 10_000;

/// Bytes of an artifact on their way out.
pub type ArtifactBytes = BoxStream<'static, Result<Bytes, ArtifactStoreError>>;

/// How opening an object for a row ended.
pub enum OpenedObject {
    /// It is what the row says; these are the bytes of the range.
    Bytes(ArtifactBytes),
    /// There is no such object.
    Missing,
    /// There is another object than the row says.
    Different,
}

/// How reading an object for a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadObject {
    /// It is what the row says.
    Bytes(Bytes),
    /// There is no such object.
    Missing,
    /// There is another object than the row says.
    Different,
}

/// Counts of transfers that broke off.
#[derive(Debug, Default)]
pub struct ResumeCounts {
    /// Taken up again.
    pub resumed: AtomicU64,
    /// Given up.
    pub failed: AtomicU64,
}

/// Opens objects and vouches for them.
#[derive(Clone)]
pub struct VerifiedReads {
    store: Arc<dyn ArtifactStore>,
    clock: Arc<dyn Clock>,
    vouched: Cache<(ArtifactKey, String), Sha256Digest>,
    resumes: Arc<ResumeCounts>,
}

impl VerifiedReads {
    /// Reads from `store`, waiting on `clock` between attempts.
    pub fn new(store: Arc<dyn ArtifactStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, vouched: Cache::new(VOUCHED_OBJECTS), resumes: Arc::default() }
    }

    /// The same reads through another handle of the same store: hashes and counts are shared.
    #[must_use]
    pub fn through(&self, store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, ..self.clone() }
    }

    /// How often broken transfers were taken up again.
    pub fn resumes(&self) -> &ResumeCounts {
        &self.resumes
    }

    /// Opens `range` of the object under `key` if it is the one `facts` describe.
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
                let is_stated = artifact.stored.sha256.is_some();
                let check =
                    (is_stated && range == (0..facts.size)).then(|| Check::new(facts.sha256));
                Ok(OpenedObject::Bytes(self.resumable(key, artifact, (range, check))))
            }
            Some(_) => Ok(OpenedObject::Different),
            None => self.open_unknown(key, facts, range).await,
        }
    }

    /// Reads the object under `key` into memory if it is the one `facts` describe. It is hashed on the
    /// way; nothing is remembered of it.
    pub async fn read(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
    ) -> Result<ReadObject, ArtifactStoreError> {
        let Some(artifact) = self.store.open(key, ByteRange::Full).await? else {
            return Ok(ReadObject::Missing);
        };
        let stated = artifact.stored.sha256;
        if artifact.stored.size != facts.size || stated.is_some_and(|sha256| sha256 != facts.sha256)
        {
            return Ok(ReadObject::Different);
        }
        let whole = (0..facts.size, Some(Check::new(facts.sha256)));
        let mut pieces = self.resumable(key, artifact, whole);
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(whole) if whole.len() as u64 == facts.size => {
                    return Ok(ReadObject::Bytes(whole));
                }
                Ok(piece) => bytes.extend_from_slice(&piece),
                // The store stated no digest that the row could have relied on.
                Err(ArtifactStoreError::Damaged { .. }) if stated.is_none() => {
                    return Ok(ReadObject::Different);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ReadObject::Bytes(bytes.freeze()))
    }

    /// Whether the object under `key` is the one `facts` describe.
    pub async fn holds(
        &self,
        key: &ArtifactKey,
        facts: ArtifactFacts,
    ) -> Result<bool, ArtifactStoreError> {
        let opened = self.open(key, facts, 0..facts.size.min(1)).await?;
        Ok(matches!(opened, OpenedObject::Bytes(_)))
    }

    /// Opens the whole object under `key` if its digest is `sha256`: its length and its bytes.
    /// `None` when it is missing or another object.
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
        artifact.stored.sha256.or_else(|| self.vouched.get(&(key.clone(), identity)))
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
        let mut bytes = self.resumable(key, whole, (0..size, None));
        let mut hash = RunningSha256::default();
        while let Some(piece) = bytes.next().await {
            hash.update(&piece?);
        }
        let (_, sha256) = hash.finish();
        self.vouched.insert((key.clone(), identity.clone()), sha256);
        if sha256 != facts.sha256 {
            return Ok(OpenedObject::Different);
        }
        match self.store.open(key, part(&range)).await? {
            None => Ok(OpenedObject::Missing),
            Some(artifact) if artifact.stored.identity != identity => Ok(OpenedObject::Different),
            Some(artifact) => Ok(OpenedObject::Bytes(self.resumable(key, artifact, (range, None)))),
        }
    }

    fn resumable(
        &self,
        key: &ArtifactKey,
        artifact: Artifact,
        (range, check): (Range<u64>, Option<Check>),
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

/// An empty object has no part to ask for.
fn part(range: &Range<u64>) -> ByteRange {
    if range.is_empty() {
        ByteRange::Full
    } else {
        ByteRange::Part { start: range.start, end: range.end }
    }
}

/// One read under way; `range` is what is still to come.
struct Transfer {
    reads: VerifiedReads,
    key: ArtifactKey,
    identity: String,
    body: ArtifactBytes,
    range: Range<u64>,
    check: Option<Check>,
    attempts: u32,
}

/// What the bytes read so far hash to, and what all of them must.
struct Check {
    hash: RunningSha256,
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
                    self.confirm(&piece)?;
                    return Ok(Some((piece, self)));
                }
                Some(Err(error)) => error,
                None => ArtifactStoreError::unavailable("read", &self.key, "object ended early"),
            };
            self.resume(failure).await?;
        }
        Ok(None)
    }

    /// Hashes a piece; an error when it is the last one and the whole is not what it should be.
    fn confirm(&mut self, piece: &Bytes) -> Result<(), ArtifactStoreError> {
        let Some(check) = &mut self.check else { return Ok(()) };
        check.hash.update(piece);
        if self.range.start < self.range.end {
            return Ok(());
        }
        let is_right = self.check.take().is_none_or(|check| check.hash.finish().1 == check.sha256);
        if is_right {
            return Ok(());
        }
        Err(ArtifactStoreError::Damaged { key: self.key.to_string() })
    }

    /// Opens the rest of the same object again, or gives up with the last failure.
    async fn resume(&mut self, mut failure: ArtifactStoreError) -> Result<(), ArtifactStoreError> {
        while self.attempts < RESUMES {
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
