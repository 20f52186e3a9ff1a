//! The fault-injecting wrapper, over a store that works.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::sync::Arc;

use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{ArtifactStoreError, ByteRange, ListedObject, read_all};
use coredock_testkit::contract::artifact_store::{Backend, artifact_store_contract};
use coredock_testkit::faulty_store::{Call, Fault, FaultRule, FaultyStore, Operation};
use coredock_testkit::gate::Gate;
use coredock_testkit::memory_store::MemoryStore;
use futures::TryStreamExt;

fn store() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::with_metadata()))
}

fn dump(id: i64) -> ArtifactKey {
    format!("coredumps/abcd2345/{id}.dmp").parse().unwrap()
}

fn body() -> ArtifactBody {
    Bytes::from(vec![7; 200_000]).into()
}

async fn list(store: &FaultyStore) -> Result<Vec<ListedObject>, ArtifactStoreError> {
    store.list(ArtifactPrefix::Coredumps).try_collect().await
}

/// How many bytes arrive, and how the body ends.
async fn read(store: &FaultyStore) -> (usize, Result<(), ArtifactStoreError>) {
    let mut body = store.open(&dump(1), ByteRange::Full).await.unwrap().unwrap().body;
    let mut length = 0;
    loop {
        match body.try_next().await {
            Ok(Some(piece)) => length += piece.len(),
            Ok(None) => return (length, Ok(())),
            Err(error) => return (length, Err(error)),
        }
    }
}

#[tokio::test]
async fn without_faults_it_changes_nothing() {
    let backend = Backend { metadata: true, stable_readers: true, separate_writers: true };
    artifact_store_contract(&store(), backend).await;
}

#[tokio::test]
async fn the_nth_call_fails_and_nothing_happens() {
    let store = store();
    store.inject(FaultRule::new(Fault::Fail).on(Operation::Put).nth(2));
    store.put(&dump(1), &body()).await.unwrap();
    assert!(store.put(&dump(2), &body()).await.is_err());
    store.put(&dump(3), &body()).await.unwrap();
    assert_eq!(list(&store).await.unwrap().len(), 2);
    assert_eq!(store.count(Operation::Put), 3);
    let failed = Call { operation: Operation::Put, keys: vec![dump(2).to_string()] };
    assert_eq!(store.calls()[1], failed);
}

#[tokio::test]
async fn rules_count_only_the_calls_they_match() {
    let store = store();
    store.inject(FaultRule::new(Fault::Fail).key("/2.dmp").from_nth(2));
    for id in [1, 2, 1] {
        store.put(&dump(id), &body()).await.unwrap();
    }
    assert!(store.delete(&[dump(1), dump(2)]).await.is_err());
    assert!(read_all(&store, &dump(2), u64::MAX).await.is_err());
    store.clear_faults();
    store.delete(&[dump(1), dump(2)]).await.unwrap();
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_call_has_taken_effect() {
    let store = store();
    store.inject(FaultRule::new(Fault::FailAfter).on(Operation::Put));
    assert!(store.put(&dump(1), &body()).await.is_err());
    assert_eq!(list(&store).await.unwrap().len(), 1);
    store.inject(FaultRule::new(Fault::FailAfter).on(Operation::List));
    let mut listing = store.list(ArtifactPrefix::Coredumps);
    assert!(listing.try_next().await.unwrap().is_some());
    assert!(listing.try_next().await.is_err());
}

#[tokio::test]
async fn bodies_break_or_end_early() {
    let store = store();
    store.put(&dump(1), &body()).await.unwrap();
    store.inject(FaultRule::new(Fault::CutStream { after_bytes: 70_000 }).nth(1));
    store.inject(FaultRule::new(Fault::ShortRead { after_bytes: 5 }).nth(2));
    let (length, end) = read(&store).await;
    assert_eq!(length, 70_000);
    let cut = end.unwrap_err().to_string();
    assert_eq!(cut, "artifact store could not read coredumps/abcd2345/1.dmp");
    assert!(matches!(read(&store).await, (5, Ok(()))));
    assert!(matches!(read(&store).await, (200_000, Ok(()))));
}

#[tokio::test]
async fn a_gate_holds_a_call_until_it_is_opened() {
    let store = store();
    let gate = Gate::new();
    store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put));
    let meanwhile = async {
        gate.arrived().await;
        assert_eq!(list(&store).await.unwrap().len(), 0);
        gate.open();
    };
    let (key, body) = (dump(1), body());
    let (put, ()) = futures::join!(store.put(&key, &body), meanwhile);
    put.unwrap();
    assert_eq!(list(&store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn while_down_everything_fails() {
    let store = store();
    store.put(&dump(1), &body()).await.unwrap();
    store.set_down(true);
    assert!(store.put(&dump(2), &body()).await.is_err());
    assert!(store.open(&dump(9), ByteRange::Full).await.is_err());
    assert!(store.copy(&dump(9), &dump(1)).await.is_err());
    assert!(store.delete(&[dump(1)]).await.is_err());
    assert!(list(&store).await.is_err());
    store.set_down(false);
    assert_eq!(list(&store).await.unwrap().len(), 1);
}
