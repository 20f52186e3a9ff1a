//! Deleting many objects.

use std::sync::atomic::Ordering;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactStoreError;
use futures::stream::{self, StreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use super::{Failure, S3ArtifactStore, path};
use crate::describe_keys;

/// At least one object could not be deleted.
struct Failed {
    first: Error,
    /// The server may still carry out a request.
    open: bool,
}

struct Deleted {
    some_absent: bool,
}

impl S3ArtifactStore {
    pub(super) async fn delete_all(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let Some(first) = keys.first() else { return Ok(()) };
        let objects: Vec<_> =
            keys.iter().map(|key| path("delete", key)).collect::<Result<_, _>>()?;
        let deleted = self.delete_objects(objects).await.map_err(|failed| {
            let error =
                ArtifactStoreError::unavailable("delete", describe_keys(keys), failed.first);
            if failed.open { error } else { error.ended() }
        })?;
        if deleted.some_absent { self.check_present("delete", first).await } else { Ok(()) }
    }

    /// Deletes in batches; once the server has refused a batch, one object per request.
    async fn delete_objects(&self, objects: Vec<Path>) -> Result<Deleted, Failed> {
        if !self.no_batches.load(Ordering::Relaxed) {
            match delete(&self.objects, objects.clone()).await {
                Err(failed)
                    if Failure::behind(&failed.first).is_some_and(Failure::is_unknown_request) =>
                {
                    tracing::info!("S3 refuses to delete objects in batches: deleting one by one");
                    self.no_batches.store(true, Ordering::Relaxed);
                }
                deleted => return deleted,
            }
        }
        delete(&self.single_deletes, objects).await
    }
}

/// Continues after a failure, so that as much as possible is deleted.
async fn delete(store: &AmazonS3, objects: Vec<Path>) -> Result<Deleted, Failed> {
    let mut deletions = store.delete_stream(stream::iter(objects.into_iter().map(Ok)).boxed());
    let mut some_absent = false;
    let mut failed: Option<Failed> = None;
    while let Some(deletion) = deletions.next().await {
        let error = match deletion {
            Ok(_) => continue,
            Err(Error::NotFound { .. }) => {
                some_absent = true;
                continue;
            }
            Err(error) => error,
        };
        let open = Failure::behind(&error).is_none_or(Failure::is_open);
        let open = open || failed.as_ref().is_some_and(|failed| failed.open);
        let first = failed.map_or(error, |failed| failed.first);
        failed = Some(Failed { first, open });
    }
    failed.map_or(Ok(Deleted { some_absent }), Err)
}
