//! A store in memory.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::digest::Sha256Digest;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{PIECE, offsets};

/// Objects in memory, read in pieces of [`PIECE`] bytes. As the port requires, a part must not be
/// empty.
pub(crate) struct MemoryStore {
    objects: Mutex<HashMap<String, Object>>,
    writes: AtomicU64,
    metadata: bool,
    /// The last byte of each read differs from the stored byte.
    damages: bool,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    identity: String,
}

impl MemoryStore {
    pub(crate) fn new(metadata: bool, damages: bool) -> Self {
        Self { objects: Mutex::default(), writes: AtomicU64::new(0), metadata, damages }
    }

    fn describe(&self, object: &Object) -> StoredArtifact {
        StoredArtifact {
            size: object.bytes.len() as u64,
            identity: object.identity.clone(),
            sha256: self.metadata.then(|| Sha256Digest::of(&object.bytes)),
        }
    }

    fn write(&self, key: &ArtifactKey, bytes: Bytes) -> StoredArtifact {
        let identity = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        let object = Object { bytes, identity };
        let stored = self.describe(&object);
        self.objects.lock().unwrap().insert(key.to_string(), object);
        stored
    }

    fn find(&self, key: &ArtifactKey) -> Option<Object> {
        self.objects.lock().unwrap().get(&key.to_string()).cloned()
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
                file.reader().read_to_end(&mut bytes).unwrap();
                bytes.into()
            }
        };
        Ok(self.write(key, bytes))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        if let ByteRange::Part { start, end } = range
            && start >= end
        {
            return Err(ArtifactStoreError::unavailable("open", key, "part without bytes"));
        }
        let Some(object) = self.find(key) else { return Ok(None) };
        let part = object.bytes.slice(offsets(range.within(object.bytes.len() as u64)));
        let part = if self.damages { damaged(part) } else { part };
        let pieces: Vec<_> = part.chunks(PIECE).map(|piece| Ok(part.slice_ref(piece))).collect();
        let body = stream::iter(pieces).boxed();
        Ok(Some(Artifact { stored: self.describe(&object), body }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let object = self.find(from).ok_or(ArtifactStoreError::NotFound { key: from.to_string() });
        self.write(to, object?.bytes);
        Ok(())
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        self.objects
            .lock()
            .unwrap()
            .retain(|path, _| keys.iter().all(|key| key.to_string() != *path));
        Ok(())
    }

    fn list(&self, _: ArtifactPrefix) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        stream::empty().boxed()
    }
}

fn damaged(bytes: Bytes) -> Bytes {
    let mut bytes = Vec::from(bytes);
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}
