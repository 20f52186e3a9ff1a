//! The contract of the port, on the stores which need no server.

use bytes::Bytes;
use coredock_artifact_store::LocalArtifactStore;
use coredock_testkit::contract::artifact_store::{
    Backend, FOREIGN_PATH, artifact_store_contract, lists_foreign_objects,
};
use coredock_testkit::memory_store::MemoryStore;
use tokio::runtime::Builder;

const LOCAL: Backend = Backend { metadata: false, stable_readers: true, separate_writers: true };

#[tokio::test]
async fn a_local_directory_fulfils_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    artifact_store_contract(&store, LOCAL).await;
    std::fs::write(directory.path().join(FOREIGN_PATH), b"foreign").unwrap();
    lists_foreign_objects(&store, 7).await;
}

#[test]
fn a_local_directory_fulfils_the_contract_on_the_calling_thread() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap().on_caller_thread();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(artifact_store_contract(&store, LOCAL));
}

#[tokio::test]
async fn memory_fulfils_the_contract() {
    let backend = Backend { metadata: true, stable_readers: true, separate_writers: true };
    artifact_store_contract(&MemoryStore::with_metadata(), backend).await;
}

#[tokio::test]
async fn a_store_without_metadata_fulfils_the_contract() {
    let store = MemoryStore::without_metadata();
    artifact_store_contract(&store, LOCAL).await;
    store.place(FOREIGN_PATH, Bytes::from_static(b"foreign"));
    lists_foreign_objects(&store, 7).await;
}
