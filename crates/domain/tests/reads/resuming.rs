//! Reads that break off are resumed.

use std::time::Duration;

use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::{ArtifactStore, Clock};
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use futures::TryStreamExt;

use crate::harness::Harness;
use crate::{SIZE, content, cut, key, other_content, short};

#[tokio::test]
async fn an_undisturbed_read_opens_once_and_never_sleeps() {
    let harness = Harness::filled().await;
    let start = harness.clock.now();
    harness.assert_reads(0..SIZE).await;
    assert_eq!(harness.opens(), 1);
    assert_eq!(harness.clock.now(), start);
    assert_eq!(harness.counts(), (0, 0));
    for range in [0..1, 9999..SIZE, 999..1001, 1234..5678] {
        harness.assert_reads(range).await;
    }
}

#[tokio::test]
async fn an_interrupted_read_is_resumed_at_the_failed_offset() {
    for after_bytes in [0, 1, 999, 1000, 4321, SIZE - 1] {
        let harness = Harness::filled().await;
        harness.inject_nth(1, cut(after_bytes));
        harness.assert_reads(0..SIZE).await;
        assert_eq!(harness.opens(), 2);
        assert_eq!(harness.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_an_error_is_resumed() {
    for after_bytes in [0, 1, 1000, 4321, SIZE - 1] {
        let harness = Harness::filled().await;
        harness.inject_nth(1, short(after_bytes));
        harness.assert_reads(0..SIZE).await;
        assert_eq!(harness.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_part_is_resumed_within_the_part() {
    let harness = Harness::filled().await;
    harness.inject_nth(1, cut(1500));
    harness.inject_nth(2, short(1));
    harness.assert_reads(2000..7000).await;
    assert_eq!(harness.counts(), (2, 0));
}

#[tokio::test]
async fn a_break_behind_the_last_byte_is_not_noticed() {
    let harness = Harness::filled().await;
    harness.inject(cut(SIZE));
    harness.assert_reads(0..SIZE).await;
    assert_eq!((harness.opens(), harness.counts()), (1, (0, 0)));
}

#[tokio::test]
async fn three_breaks_are_resumed_with_growing_delays() {
    let harness = Harness::filled().await;
    let start = harness.clock.now();
    for n in 1..=3 {
        harness.inject_nth(n, cut(2000));
    }
    harness.assert_reads(0..SIZE).await;
    assert_eq!(harness.opens(), 4);
    assert_eq!(harness.clock.now().since(start), Duration::from_millis(100 + 400 + 1600));
    assert_eq!(harness.counts(), (3, 0));
}

#[tokio::test]
async fn the_fourth_break_ends_the_read_even_if_bytes_arrived_each_time() {
    for fault in [cut(2000), short(2000)] {
        let harness = Harness::filled().await;
        harness.inject(fault);
        let (arrived, end) = harness.read(0..SIZE).await;
        assert!(matches!(end, Err(ArtifactStoreError::Unavailable { operation: "read", .. })));
        assert_eq!(arrived, content()[..8000]);
        assert_eq!(harness.opens(), 4);
        assert_eq!(harness.counts(), (3, 1));
    }
}

#[tokio::test]
async fn a_store_that_stays_down_ends_the_read_after_three_tries() {
    let harness = Harness::filled().await;
    harness.inject_nth(1, cut(2000));
    harness.store.inject(FaultRule::new(Fault::Fail).on(Operation::Open).from_nth(2));
    let (arrived, end) = harness.read(0..SIZE).await;
    assert!(matches!(end, Err(ArtifactStoreError::Unavailable { operation: "open", .. })));
    assert_eq!(arrived, content()[..2000]);
    assert_eq!(harness.opens(), 4);
    assert_eq!(harness.counts(), (0, 1));
}

#[tokio::test]
async fn a_store_that_comes_back_in_time_is_read_to_the_end() {
    let harness = Harness::filled().await;
    harness.inject_nth(1, cut(2000));
    harness.inject_nth(2, Fault::Fail);
    harness.inject_nth(3, Fault::FailAfter);
    harness.assert_reads(0..SIZE).await;
    assert_eq!((harness.opens(), harness.counts()), (4, (1, 0)));
}

#[tokio::test]
async fn a_resumed_read_never_continues_with_another_object() {
    for replacement in [other_content(), content(), content().slice(..3000)] {
        let harness = Harness::filled().await;
        harness.inject_nth(1, cut(2000));
        let mut bytes = harness.open_right(0..SIZE).await;
        harness.put(replacement).await;
        let mut arrived = Vec::new();
        let end = harness.while_time_passes(async {
            while let Some(piece) = bytes.try_next().await? {
                arrived.extend_from_slice(&piece);
            }
            Ok::<(), ArtifactStoreError>(())
        });
        assert!(end.await.is_err());
        assert_eq!(arrived, content()[..2000]);
        assert_eq!((harness.opens(), harness.counts()), (2, (0, 1)));
    }
}

#[tokio::test]
async fn a_resumed_read_ends_when_the_object_was_deleted() {
    let harness = Harness::filled().await;
    harness.inject_nth(1, cut(2000));
    let bytes = harness.open_right(0..SIZE).await;
    harness.store.delete(&[key()]).await.unwrap();
    let collected: Result<Vec<_>, _> = harness.while_time_passes(bytes.try_collect()).await;
    assert!(collected.is_err());
    assert_eq!(harness.opens(), 2);
}
