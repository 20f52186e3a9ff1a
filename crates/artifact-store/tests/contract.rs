//! The contract of the port, on every backend of this crate.

use std::sync::Arc;

use coredock_artifact_store::{ObjectArtifactStore, StoreFeatures};
use coredock_domain::blocking;
use coredock_testkit::contract::artifact_store::{
    Backend, FOREIGN_PATH, artifact_store_contract, lists_foreign_objects,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Builder;

#[tokio::test]
async fn a_local_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectArtifactStore::local(directory.path()).unwrap();
    let backend = Backend { metadata: false, stable_readers: true, separate_writers: true };
    artifact_store_contract(&store, backend).await;
    std::fs::write(directory.path().join(FOREIGN_PATH), b"foreign").unwrap();
    lists_foreign_objects(&store, 7).await;
}

/// There it is read and written without visits to other threads.
#[test]
fn a_local_directory_keeps_the_contract_on_a_thread_that_may_wait() {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectArtifactStore::local(directory.path()).unwrap();
    let backend = Backend { metadata: false, stable_readers: true, separate_writers: true };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    blocking::allow(|| runtime.block_on(artifact_store_contract(&store, backend)));
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let backend = Backend { metadata: true, stable_readers: true, separate_writers: true };
    artifact_store_contract(&ObjectArtifactStore::memory(), backend).await;
}

#[tokio::test]
async fn a_store_without_metadata_keeps_the_contract() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let features = StoreFeatures { part_size: 100_000, metadata: false };
    let store = ObjectArtifactStore::over(Arc::clone(&objects), features);
    let backend = Backend { metadata: false, stable_readers: true, separate_writers: true };
    artifact_store_contract(&store, backend).await;
    objects.put(&Path::parse(FOREIGN_PATH).unwrap(), "foreign".into()).await.unwrap();
    lists_foreign_objects(&store, 7).await;
}
