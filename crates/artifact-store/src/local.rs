//! Objects as files below a directory.

mod directory;
mod leftovers;
mod list;
mod read;
mod threads;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::timestamp::Timestamp;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use crate::describe_keys;
use directory::Directory;
use threads::Threads;

/// The artifact directory could not be created or read.
#[derive(Debug, thiserror::Error)]
#[error("could not open artifact directory {}", path.display())]
pub struct OpenDirectoryError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The [`ArtifactStore`] in a local directory; the path of an object below it is its key. Files
/// have no metadata, so the store does not return a SHA-256.
///
/// A value is a handle; clones and handles made from it share the directory. File system calls run
/// on tokio's blocking pool, or on the calling thread: see
/// [`LocalArtifactStore::on_caller_thread`].
#[derive(Clone)]
pub struct LocalArtifactStore {
    directory: Arc<Directory>,
    threads: Threads,
}

impl LocalArtifactStore {
    /// Creates `directory` when it is absent, accessible to its owner only. Blocks the thread.
    pub fn at(directory: impl AsRef<Path>) -> Result<Self, OpenDirectoryError> {
        let path = directory.as_ref();
        let directory = Directory::open(path)
            .map_err(|source| OpenDirectoryError { path: path.to_owned(), source })?;
        Ok(Self { directory: Arc::new(directory), threads: Threads::BlockingPool })
    }

    /// A handle that makes file system calls on the calling thread. It is correct on every thread,
    /// but blocks it: use it on threads which exist to block. There it saves two thread switches
    /// per call, which cost more than most of the calls.
    #[must_use]
    pub fn on_caller_thread(&self) -> Self {
        Self { directory: Arc::clone(&self.directory), threads: Threads::Caller }
    }

    /// Removes the temporary files which interrupted writes have left, and empty directories.
    /// Returns the number of files. `written_before` must be earlier than the last write to any
    /// file that is still being written, because such files stay.
    pub async fn clean_leftovers(
        &self,
        written_before: Timestamp,
    ) -> Result<u64, ArtifactStoreError> {
        let directory = Arc::clone(&self.directory);
        let clean = move || leftovers::clean(directory.root(), written_before);
        self.threads.run(clean).await.map_err(|source| {
            let files =
                format!("files of interrupted writes in {}", self.directory.root().display());
            ArtifactStoreError::unavailable("delete", files, source)
        })
    }
}

#[async_trait]
impl ArtifactStore for LocalArtifactStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let directory = Arc::clone(&self.directory);
        let (object, body) = (directory.path_of(key), body.clone());
        let written = self.threads.run_change(move |caller| directory.put(&object, &body, caller));
        written.await.map_err(|source| ArtifactStoreError::unavailable("put", key, source))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let directory = Arc::clone(&self.directory);
        let object = directory.path_of(key);
        let opened = self.threads.run(move || directory.open_object(&object)).await;
        let opened =
            opened.map_err(|source| ArtifactStoreError::unavailable("open", key, source))?;
        Ok(opened.map(|(file, stored)| {
            let key = key.to_string();
            let body = read::pieces(file, range.within(stored.size), self.threads)
                .map_err(move |source| ArtifactStoreError::unavailable("read", &key, source));
            Artifact { stored, body: body.boxed() }
        }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let directory = Arc::clone(&self.directory);
        let (source, target) = (directory.path_of(from), directory.path_of(to));
        let copied =
            self.threads.run_change(move |caller| directory.copy(&source, &target, caller));
        match copied.await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ArtifactStoreError::NotFound { key: from.to_string() }),
            Err(source) => Err(ArtifactStoreError::unavailable("copy", from, source)),
        }
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let (directory, all) = (Arc::clone(&self.directory), keys.to_vec());
        let deleted = self.threads.run_change(move |caller| directory.delete(&all, caller)).await;
        deleted.map_err(|source| {
            ArtifactStoreError::unavailable("delete", describe_keys(keys), source).ended()
        })
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let name = prefix.as_str();
        list::objects_below(Arc::clone(&self.directory), name, self.threads)
            .map_err(move |source| ArtifactStoreError::unavailable("list", name, source))
            .boxed()
    }
}
