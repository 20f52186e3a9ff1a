//! Objects are compared with their rows.

use bytes::Bytes;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::artifacts::verified_reads::OpenedObject;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use futures::TryStreamExt;
use futures::future::join;

use crate::harness::Harness;
use crate::{PIECE, SIZE, content, cut, facts, key, offsets, other_content, short};

#[tokio::test]
async fn an_absent_object_is_missing_and_an_outage_is_not() {
    for metadata in [true, false] {
        let harness = Harness::new(metadata);
        let facts = facts(&content());
        assert!(matches!(harness.open(facts).await, Ok(OpenedObject::Missing)));
        assert!(!harness.reads.is_stored(&key(), facts).await.unwrap());
        harness.store.set_down(true);
        let down = harness.open(facts).await;
        assert!(matches!(down, Err(ArtifactStoreError::Unavailable { .. })));
        assert!(harness.reads.is_stored(&key(), facts).await.is_err());
        // Neither outcome is remembered.
        harness.store.set_down(false);
        harness.put(content()).await;
        harness.assert_reads(0..SIZE).await;
    }
}

#[tokio::test]
async fn an_object_of_another_length_is_different_without_being_read() {
    for metadata in [true, false] {
        for wrong in [content().slice(1..), Bytes::new(), [content(), content()].concat().into()] {
            let harness = Harness::new(metadata).with(wrong).await;
            let facts = facts(&content());
            assert!(matches!(harness.open(facts).await, Ok(OpenedObject::Different)));
            assert!(!harness.reads.is_stored(&key(), facts).await.unwrap());
            assert_eq!(harness.opens(), 2);
        }
    }
}

#[tokio::test]
async fn an_object_of_other_bytes_is_different() {
    for (metadata, opens) in [(true, 1), (false, 2)] {
        let harness = Harness::new(metadata).with(other_content()).await;
        assert!(matches!(harness.open(facts(&content())).await, Ok(OpenedObject::Different)));
        assert_eq!(harness.opens(), opens);
        // The digest is known now: the object is opened once.
        assert!(!harness.reads.is_stored(&key(), facts(&content())).await.unwrap());
        assert_eq!(harness.opens(), opens + 1);
        assert!(harness.reads.is_stored(&key(), facts(&other_content())).await.unwrap());
    }
}

#[tokio::test]
async fn a_damaged_object_is_never_read_to_its_end() {
    let harness = Harness::over(true, true).with(content()).await;
    let (arrived, end) = harness.read(0..SIZE).await;
    assert!(matches!(end, Err(ArtifactStoreError::Damaged { .. })), "{end:?}");
    assert_eq!(arrived.len(), offsets(0..SIZE).len() - PIECE, "the last piece is not returned");
    let (arrived, end) = harness.read(0..SIZE - 1).await;
    end.unwrap();
    assert_eq!(arrived.len(), offsets(0..SIZE).len() - 1, "parts have no digest");
}

#[tokio::test]
async fn an_object_without_metadata_is_hashed_only_once() {
    let harness = Harness::new(false).with(content()).await;
    harness.assert_reads(5..10).await;
    // Once each for its size, its digest and the requested bytes.
    assert_eq!(harness.opens(), 3);
    for n in 1..=5 {
        harness.assert_reads(0..SIZE).await;
        assert_eq!(harness.opens(), 3 + n);
    }
    harness.put(content()).await;
    harness.assert_reads(0..SIZE).await;
    assert_eq!(harness.opens(), 8 + 3, "a new object is hashed again");
}

#[tokio::test]
async fn the_digest_of_a_replaced_object_is_not_used_for_the_new_object() {
    let harness = Harness::new(false).with(content()).await;
    harness.assert_reads(0..SIZE).await;
    harness.put(other_content()).await;
    assert!(matches!(harness.open(facts(&content())).await, Ok(OpenedObject::Different)));
    assert!(matches!(harness.open(facts(&other_content())).await, Ok(OpenedObject::Bytes(_))));
}

#[tokio::test]
async fn hashing_resumes_after_breaks_and_gives_the_right_digest() {
    let harness = Harness::new(false).with(content()).await;
    harness.inject_nth(2, cut(3000));
    harness.inject_nth(3, short(3000));
    harness.assert_reads(0..SIZE).await;
    assert_eq!((harness.opens(), harness.counts()), (5, (2, 0)));
}

#[tokio::test]
async fn an_object_that_cannot_be_hashed_is_an_outage_and_is_hashed_the_next_time() {
    let harness = Harness::new(false).with(content()).await;
    harness.store.inject(FaultRule::new(short(100)).on(Operation::Open).from_nth(2));
    assert!(harness.open(facts(&content())).await.is_err());
    harness.store.clear_faults();
    harness.assert_reads(0..SIZE).await;
}

#[tokio::test]
async fn an_object_replaced_after_hashing_is_different() {
    for replacement in [other_content(), content()] {
        let harness = Harness::new(false).with(content()).await;
        let gate = Gate::new();
        harness.inject_nth(3, Fault::Hold(gate.clone()));
        let replace = async {
            gate.arrived().await;
            harness.put(replacement).await;
            gate.open();
        };
        let (opened, ()) = join(harness.open(facts(&content())), replace).await;
        assert!(matches!(opened, Ok(OpenedObject::Different)));
    }
}

#[tokio::test]
async fn an_empty_object_is_opened_without_asking_for_a_part_of_it() {
    for metadata in [true, false] {
        let harness = Harness::new(metadata).with(Bytes::new()).await;
        let facts = facts(&Bytes::new());
        assert!(harness.reads.is_stored(&key(), facts).await.unwrap());
        let Ok(OpenedObject::Bytes(bytes)) = harness.open(facts).await else {
            panic!("expected the stored object")
        };
        let pieces: Vec<Bytes> = bytes.try_collect().await.unwrap();
        assert!(pieces.is_empty());
    }
}
