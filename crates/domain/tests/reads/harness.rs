//! Verified reads with their store and clock.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::store::{ArtifactFacts, ArtifactStoreError};
use coredock_domain::artifacts::verified_reads::{ArtifactBytes, OpenedObject, VerifiedReads};
use coredock_testkit::clock::SettableClock;
use coredock_testkit::faulty_store::{Fault, FaultRule, FaultyStore, Operation};
use futures::TryStreamExt;
use futures::future::{Either, select};

use crate::memory_store::MemoryStore;
use crate::{content, facts, key, offsets};

/// Reads from a store with injected faults, on a clock that jumps whenever a read sleeps.
pub(crate) struct Harness {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) clock: Arc<SettableClock>,
    pub(crate) reads: VerifiedReads,
}

impl Harness {
    pub(crate) fn new(metadata: bool) -> Self {
        Self::over(metadata, false)
    }

    pub(crate) fn over(metadata: bool, damages: bool) -> Self {
        let store = MemoryStore::new(metadata, damages);
        let store = Arc::new(FaultyStore::new(Arc::new(store)));
        let clock = Arc::new(SettableClock::default());
        let reads = VerifiedReads::new(store.clone(), clock.clone());
        Self { store, clock, reads }
    }

    /// With metadata and the object [`content`].
    pub(crate) async fn filled() -> Self {
        Self::new(true).with(content()).await
    }

    pub(crate) async fn with(self, content: Bytes) -> Self {
        self.put(content).await;
        self
    }

    pub(crate) async fn put(&self, content: Bytes) {
        self.store.put(&key(), &content.into()).await.unwrap();
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.store.inject(FaultRule::new(fault).on(Operation::Open));
    }

    /// On the `n`th open from now on.
    pub(crate) fn inject_nth(&self, n: u64, fault: Fault) {
        self.store.inject(FaultRule::new(fault).on(Operation::Open).nth(n));
    }

    pub(crate) fn opens(&self) -> usize {
        self.store.count(Operation::Open)
    }

    /// Runs `work` while time passes in steps of 100 ms, but only when `work` sleeps.
    pub(crate) async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
        let time = async {
            loop {
                self.clock.until_sleeping(1).await;
                self.clock.advance(Duration::from_millis(100));
            }
        };
        match select(pin!(work), pin!(time)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => {
                let never: Infallible = never;
                match never {}
            }
        }
    }

    pub(crate) async fn open(
        &self,
        facts: ArtifactFacts,
    ) -> Result<OpenedObject, ArtifactStoreError> {
        self.while_time_passes(self.reads.open(&key(), facts, 0..facts.size)).await
    }

    pub(crate) async fn open_right(&self, range: Range<u64>) -> ArtifactBytes {
        let key = key();
        let opened = self.reads.open(&key, facts(&content()), range);
        match self.while_time_passes(opened).await.unwrap() {
            OpenedObject::Bytes(bytes) => bytes,
            OpenedObject::Missing | OpenedObject::Different => panic!("expected the stored object"),
        }
    }

    /// The bytes of `range` that arrive, and how the read ends.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
    ) -> (Vec<u8>, Result<(), ArtifactStoreError>) {
        let mut bytes = self.open_right(range).await;
        self.while_time_passes(async {
            let mut arrived = Vec::new();
            loop {
                match bytes.try_next().await {
                    Ok(Some(piece)) => arrived.extend_from_slice(&piece),
                    Ok(None) => return (arrived, Ok(())),
                    Err(error) => return (arrived, Err(error)),
                }
            }
        })
        .await
    }

    pub(crate) async fn assert_reads(&self, range: Range<u64>) {
        let (arrived, end) = self.read(range.clone()).await;
        end.unwrap();
        let expected = content().slice(offsets(range));
        assert!(arrived == expected, "{} of {} bytes", arrived.len(), expected.len());
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = self.reads.resumes();
        (counts.resumed.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed))
    }
}
