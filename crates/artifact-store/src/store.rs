use std::sync::Arc;

use async_trait::async_trait;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::blocking;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore,
    ObjectStoreExt,
};

use crate::body;
use crate::local::{LocalDirectory, OpenDirectoryError};
use crate::s3::{Failure, S3Access};
use crate::walk::objects_below;

/// Why an operation failed, before it is mapped to the error of the port.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

const MIB: usize = 1 << 20;
const SHA256: &str = "sha256";
/// An offset behind the end of any object. s3s-fs refuses larger ones than fit into 63 bits.
const FAR: u64 = 1 << 62;

/// What the store underneath can do.
#[derive(Debug, Clone, Copy)]
pub struct StoreFeatures {
    /// Files up to this length go in one piece, larger ones in parts of it; about two parts are in
    /// memory at once. S3 wants at least 5 MiB.
    pub part_size: usize,
    /// Whether objects carry user metadata and a content type.
    pub metadata: bool,
}

/// The [`ArtifactStore`] over any [`ObjectStore`]. Clones share the store.
#[derive(Clone)]
pub struct ObjectArtifactStore {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) features: StoreFeatures,
    /// The directory underneath, if it is one.
    pub(crate) directory: Option<LocalDirectory>,
    /// The bucket underneath, if it is one.
    pub(crate) s3: Option<S3Access>,
}

impl ObjectArtifactStore {
    /// Keeps objects as files below `directory`, which is created when absent, for its owner only.
    /// Blocks the thread; call it at start.
    pub fn local(directory: impl AsRef<std::path::Path>) -> Result<Self, OpenDirectoryError> {
        let directory = LocalDirectory::open(directory.as_ref())?;
        let objects = LocalFileSystem::new_with_prefix(directory.root())
            .map_err(|source| OpenDirectoryError::new(directory.root(), source))?
            .with_fsync(true);
        let features = StoreFeatures { part_size: MIB, metadata: false };
        Ok(Self { directory: Some(directory), ..Self::over(Arc::new(objects), features) })
    }

    /// Keeps objects in memory and forgets them.
    pub fn memory() -> Self {
        let features = StoreFeatures { part_size: MIB, metadata: true };
        Self::over(Arc::new(InMemory::new()), features)
    }

    /// Keeps objects in `objects`, which does not keep them in a local directory.
    pub fn over(objects: Arc<dyn ObjectStore>, features: StoreFeatures) -> Self {
        Self { objects, features, directory: None, s3: None }
    }

    /// Removes what interrupted writes left in a local directory: temporary files under names of
    /// ours, last written before `written_before`, which must be earlier than any write still under
    /// way. Returns how many. Other stores have none.
    ///
    /// A crash leaves such a file, and so does a large write whose very last step fails.
    pub async fn clean_leftovers(
        &self,
        written_before: Timestamp,
    ) -> Result<u64, ArtifactStoreError> {
        match &self.directory {
            Some(directory) => directory
                .clean_leftovers(written_before)
                .await
                .map_err(|source| ArtifactStoreError::unavailable("delete", "leftovers", source)),
            None => Ok(0),
        }
    }

    /// Call when something seems absent: an error when the whole directory or bucket is, because
    /// then no object is known to be absent.
    pub(crate) async fn check_present(
        &self,
        operation: &'static str,
        key: impl ToString,
    ) -> Result<(), ArtifactStoreError> {
        let present = match (&self.directory, &self.s3) {
            (Some(directory), _) => directory.check_present().await,
            (None, Some(s3)) => s3.listing.check_present().await,
            (None, None) => Ok(()),
        };
        present.map_err(|source| ArtifactStoreError::unavailable(operation, key, source))
    }

    /// Opens an object of the directory without a visit to another thread.
    async fn open_file(
        &self,
        directory: &LocalDirectory,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let opened = directory.open_file(&path("open", key)?);
        let opened =
            opened.map_err(|source| ArtifactStoreError::unavailable("open", key, source))?;
        let Some((file, stored)) = opened else {
            self.check_present("open", key).await?;
            return Ok(None);
        };
        let body = body::pieces_of_file(file, range.within(stored.size), key.to_string());
        Ok(Some(Artifact { stored, body }))
    }

    /// Answers a read of a part that the store refused: when the part begins at or behind the end,
    /// which stores call an error, its body is empty.
    async fn open_behind_end(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
        refusal: Error,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&path("open", key)?, options).await {
            Ok(found) if range.within(found.meta.size).is_empty() => {
                Ok(Some(Artifact { stored: describe(&found), body: stream::empty().boxed() }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Ok(_) | Err(_) => Err(ArtifactStoreError::unavailable("open", key, refusal)),
        }
    }
}

#[async_trait]
impl ArtifactStore for ObjectArtifactStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let object = path("put", key)?;
        self.write(&object, body)
            .await
            .map_err(|source| ArtifactStoreError::unavailable("put", key, source))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        if let Some(directory) = self.directory.as_ref().filter(|_| blocking::is_allowed()) {
            return self.open_file(directory, key, range).await;
        }
        let wanted = match range {
            ByteRange::Full => None,
            ByteRange::Part { start, end } => {
                Some(GetRange::Bounded(start.min(FAR)..end.min(FAR + 1)))
            }
        };
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        match self.objects.get_opts(&path("open", key)?, options).await {
            Ok(found) if found.range != range.within(found.meta.size) => {
                Err(ArtifactStoreError::unavailable("open", key, "store sent another range"))
            }
            Ok(found) => {
                let stored = describe(&found);
                let body = body::pieces(found.payload, found.range, key.to_string());
                Ok(Some(Artifact { stored, body }))
            }
            Err(Error::NotFound { .. }) => {
                self.check_present("open", key).await?;
                Ok(None)
            }
            Err(refusal) => match range {
                ByteRange::Part { .. } if may_be_behind_end(&refusal) => {
                    self.open_behind_end(key, range, refusal).await
                }
                _ => Err(ArtifactStoreError::unavailable("open", key, refusal)),
            },
        }
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        if self.directory.is_some() {
            return self.rewrite(from, to).await;
        }
        match self.objects.copy(&path("copy", from)?, &path("copy", to)?).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => {
                self.check_present("copy", from).await?;
                Err(ArtifactStoreError::NotFound { key: from.to_string() })
            }
            Err(source) => Err(ArtifactStoreError::unavailable("copy", from, source)),
        }
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        self.delete_all(keys).await
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let name = prefix.as_str();
        if let Some(directory) = &self.directory {
            let objects = objects_below(directory.root().into(), name)
                .map_err(move |source| ArtifactStoreError::unavailable("list", name, source));
            let present = self.check_present("list", name);
            return present.map_ok(|()| objects).try_flatten_stream().boxed();
        }
        if let Some(s3) = &self.s3 {
            let objects = s3.listing.objects(format!("{name}/"));
            return objects
                .map_err(move |source| ArtifactStoreError::unavailable("list", name, source))
                .boxed();
        }
        let objects = self.objects.list(Some(&Path::from_iter([name])));
        let listed = objects
            .map_ok(listed)
            .map_err(move |source| ArtifactStoreError::unavailable("list", name, source));
        listed.boxed()
    }
}

/// S3 says so; of other stores it is not known.
fn may_be_behind_end(refusal: &Error) -> bool {
    Failure::behind(refusal).is_none_or(Failure::is_behind_end)
}

/// Where the object lies. Parsed, because `Path::from` would percent-encode.
pub(crate) fn path(operation: &'static str, key: &ArtifactKey) -> Result<Path, ArtifactStoreError> {
    Path::parse(key.to_string())
        .map_err(|source| ArtifactStoreError::unavailable(operation, key, source))
}

/// What is written beside an object of this digest where the store has metadata.
pub(crate) fn attributes(sha256: Sha256Digest) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, "application/octet-stream".to_owned()),
        (Attribute::Metadata(SHA256.into()), sha256.to_string()),
    ])
}

/// The value that changes whenever the object does.
pub(crate) fn identity(meta: &ObjectMeta) -> String {
    let written = || format!("{}-{}", Timestamp::from(meta.last_modified).micros(), meta.size);
    meta.e_tag.clone().unwrap_or_else(written)
}

fn describe(found: &GetResult) -> StoredArtifact {
    let sha256 = found.attributes.get(&Attribute::Metadata(SHA256.into()));
    StoredArtifact {
        size: found.meta.size,
        identity: identity(&found.meta),
        sha256: sha256.and_then(|text| text.parse().ok()),
    }
}

fn listed(meta: ObjectMeta) -> ListedObject {
    ListedObject {
        path: meta.location.into(),
        size: meta.size,
        modified: Timestamp::from(meta.last_modified),
    }
}
