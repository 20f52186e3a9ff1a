//! An artifact store in memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, BoxStream, StreamExt};

const PIECE: usize = 64 << 10;

pub struct MemoryStore {
    objects: Mutex<Objects>,
    metadata: bool,
}

#[derive(Default)]
struct Objects {
    by_path: BTreeMap<String, Object>,
    /// Number of writes so far. The identity of an object is the number of its write.
    writes: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    sha256: Sha256Digest,
    write: u64,
    modified: Timestamp,
}

impl MemoryStore {
    /// A store whose objects have their SHA-256, like those of S3.
    pub fn with_metadata() -> Self {
        Self { objects: Mutex::default(), metadata: true }
    }

    /// A store whose objects have no SHA-256, like those of a local directory.
    pub fn without_metadata() -> Self {
        Self { objects: Mutex::default(), metadata: false }
    }

    /// Stores `bytes` under any path, even if it is not a key.
    pub fn place(&self, path: &str, bytes: Bytes) -> StoredArtifact {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = Timestamp::from_micros(0).after(since_epoch);
        let mut objects = self.objects();
        objects.writes += 1;
        let sha256 = Sha256Digest::of(&bytes);
        let object = Object { bytes, sha256, write: objects.writes, modified };
        let stored = self.describe(&object);
        objects.by_path.insert(path.to_owned(), object);
        stored
    }

    fn find(&self, key: &ArtifactKey) -> Option<Object> {
        self.objects().by_path.get(&key.to_string()).cloned()
    }

    fn describe(&self, object: &Object) -> StoredArtifact {
        StoredArtifact {
            size: object.bytes.len() as u64,
            identity: object.write.to_string(),
            sha256: self.metadata.then_some(object.sha256),
        }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ArtifactStore for MemoryStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let bytes = match body {
            ArtifactBody::Bytes(body) => body.bytes().clone(),
            ArtifactBody::File(file) => {
                let mut bytes = Vec::new();
                let read = file.reader().read_to_end(&mut bytes);
                read.map_err(|source| ArtifactStoreError::unavailable("put", key, source))?;
                bytes.into()
            }
        };
        Ok(self.place(&key.to_string(), bytes))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let Some(object) = self.find(key) else { return Ok(None) };
        let stored = self.describe(&object);
        let range = range.within(stored.size);
        let position = |offset| usize::try_from(offset).expect("the object is in memory");
        let part = object.bytes.slice(position(range.start)..position(range.end));
        let pieces: Vec<_> = part.chunks(PIECE).map(|piece| Ok(part.slice_ref(piece))).collect();
        Ok(Some(Artifact { stored, body: stream::iter(pieces).boxed() }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        match self.find(from) {
            Some(object) => {
                self.place(&to.to_string(), object.bytes);
                Ok(())
            }
            None => Err(ArtifactStoreError::NotFound { key: from.to_string() }),
        }
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let mut objects = self.objects();
        for key in keys {
            objects.by_path.remove(&key.to_string());
        }
        Ok(())
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let below = format!("{}/", prefix.as_str());
        let objects = self.objects();
        let listed: Vec<_> = objects
            .by_path
            .iter()
            .filter(|(path, _)| path.starts_with(&below))
            .map(|(path, object)| ListedObject {
                path: path.clone(),
                size: object.bytes.len() as u64,
                modified: object.modified,
            })
            .map(Ok)
            .collect();
        stream::iter(listed).boxed()
    }
}
