//! Deleting many objects.

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactStoreError;
use futures::StreamExt;
use futures::stream;
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use crate::s3::Failure;
use crate::store::{ObjectArtifactStore, path};

/// Some of several objects could not be deleted.
struct Failed {
    first: Error,
    /// Something may still be deleted.
    open: bool,
}

/// How the deletion of several objects ended, if nothing failed.
struct Deleted {
    /// Some were not there.
    absent: bool,
}

impl ObjectArtifactStore {
    pub(crate) async fn delete_all(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        let Some(first) = keys.first() else { return Ok(()) };
        let objects: Vec<_> =
            keys.iter().map(|key| path("delete", key)).collect::<Result<_, _>>()?;
        let deleted = self.delete_objects(objects).await.map_err(|failed| {
            let open = self.s3.is_some() && failed.open;
            let error = ArtifactStoreError::unavailable("delete", among(first, keys), failed.first);
            if open { error } else { error.ended() }
        })?;
        if let Some(directory) = &self.directory {
            directory.remove_staging_of(keys).await;
        }
        if deleted.absent { self.check_present("delete", first).await } else { Ok(()) }
    }

    /// In batches where the server knows them; when it turns out that it does not, one by one.
    async fn delete_objects(&self, objects: Vec<Path>) -> Result<Deleted, Failed> {
        let Some(s3) = &self.s3 else { return delete(&*self.objects, objects).await };
        if s3.deletes_batches() {
            match delete(&*self.objects, objects.clone()).await {
                Err(failed)
                    if Failure::behind(&failed.first).is_some_and(Failure::is_unknown_request) =>
                {
                    tracing::info!("the server deletes one object at a time only");
                    s3.give_up_batches();
                }
                deleted => return deleted,
            }
        }
        delete(&*s3.single_deletes, objects).await
    }
}

/// Every deletion is awaited, also after a failure: what can go, goes.
async fn delete(store: &dyn ObjectStore, objects: Vec<Path>) -> Result<Deleted, Failed> {
    let mut deletions = store.delete_stream(stream::iter(objects.into_iter().map(Ok)).boxed());
    let mut absent = false;
    let mut failed: Option<Failed> = None;
    while let Some(deletion) = deletions.next().await {
        let error = match deletion {
            Ok(_) => continue,
            Err(Error::NotFound { .. }) => {
                absent = true;
                continue;
            }
            Err(error) => error,
        };
        let open = Failure::behind(&error).is_none_or(Failure::is_open);
        let open = open || failed.as_ref().is_some_and(|failed| failed.open);
        let first = failed.map_or(error, |failed| failed.first);
        failed = Some(Failed { first, open });
    }
    failed.map_or(Ok(Deleted { absent }), Err)
}

/// Names the keys of one deletion; the store does not say which of them failed.
fn among(first: &ArtifactKey, keys: &[ArtifactKey]) -> String {
    match keys.len() - 1 {
        0 => first.to_string(),
        others => format!("{first} and {others} more"),
    }
}
