//! Objects are compared with their rows before the first byte, and read to the last (contract
//! §5.12).

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactFacts, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::artifacts::verified_reads::{ArtifactBytes, OpenedObject, VerifiedReads};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::{ArtifactStore, Clock};
use coredock_testkit::clock::SettableClock;
use coredock_testkit::faulty_store::{Fault, FaultRule, FaultyStore, Operation};
use coredock_testkit::gate::Gate;
use futures::future::{Either, join, select};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

const SIZE: u64 = 10_000;
const PIECE: usize = 1000;

/// Objects in memory, handed out in pieces of [`PIECE`] bytes. Takes the port at its word: a part
/// without bytes is an error.
struct MemoryStore {
    objects: Mutex<HashMap<String, Object>>,
    writes: AtomicU64,
    metadata: bool,
    /// The last byte that is handed out is another than was stored.
    damages: bool,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    identity: String,
}

impl MemoryStore {
    fn describe(&self, object: &Object) -> StoredArtifact {
        StoredArtifact {
            size: object.bytes.len() as u64,
            identity: object.identity.clone(),
            sha256: self.metadata.then(|| Sha256Digest::of(&object.bytes)),
        }
    }

    fn write(&self, key: &ArtifactKey, bytes: Bytes) -> StoredArtifact {
        let identity = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        let object = Object { bytes, identity };
        let stored = self.describe(&object);
        self.objects.lock().unwrap().insert(key.to_string(), object);
        stored
    }

    fn find(&self, key: &ArtifactKey) -> Option<Object> {
        self.objects.lock().unwrap().get(&key.to_string()).cloned()
    }
}

#[async_trait]
impl ArtifactStore for MemoryStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let bytes = match body {
            ArtifactBody::Bytes(body) => body.bytes().clone(),
            ArtifactBody::File(file) => {
                let mut bytes = Vec::new();
                file.reader().read_to_end(&mut bytes).unwrap();
                bytes.into()
            }
        };
        Ok(self.write(key, bytes))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        if let ByteRange::Part { start, end } = range
            && start >= end
        {
            return Err(ArtifactStoreError::unavailable("open", key, "part without bytes"));
        }
        let Some(object) = self.find(key) else { return Ok(None) };
        let part = object.bytes.slice(offsets(range.within(object.bytes.len() as u64)));
        let part = if self.damages { damaged(part) } else { part };
        let pieces: Vec<_> = part.chunks(PIECE).map(|piece| Ok(part.slice_ref(piece))).collect();
        let body = stream::iter(pieces).boxed();
        Ok(Some(Artifact { stored: self.describe(&object), body }))
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        let object = self.find(from).ok_or(ArtifactStoreError::NotFound { key: from.to_string() });
        self.write(to, object?.bytes);
        Ok(())
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        self.objects
            .lock()
            .unwrap()
            .retain(|path, _| keys.iter().all(|key| key.to_string() != *path));
        Ok(())
    }

    fn list(&self, _: ArtifactPrefix) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        stream::empty().boxed()
    }
}

/// Reads over a store that fails when told to, on a clock that jumps whenever someone sleeps.
struct Desk {
    store: Arc<FaultyStore>,
    clock: Arc<SettableClock>,
    reads: VerifiedReads,
}

fn damaged(bytes: Bytes) -> Bytes {
    let mut bytes = Vec::from(bytes);
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}

impl Desk {
    fn new(metadata: bool) -> Self {
        Self::over(metadata, false)
    }

    fn over(metadata: bool, damages: bool) -> Self {
        let (objects, writes) = (Mutex::default(), AtomicU64::new(0));
        let store = MemoryStore { objects, writes, metadata, damages };
        let store = Arc::new(FaultyStore::new(Arc::new(store)));
        let clock = Arc::new(SettableClock::default());
        let reads = VerifiedReads::new(store.clone(), clock.clone());
        Self { store, clock, reads }
    }

    /// With metadata, holding [`content`].
    async fn filled() -> Self {
        Self::new(true).with(content()).await
    }

    async fn with(self, content: Bytes) -> Self {
        self.put(content).await;
        self
    }

    async fn put(&self, content: Bytes) {
        self.store.put(&key(), &content.into()).await.unwrap();
    }

    fn inject(&self, fault: Fault) {
        self.store.inject(FaultRule::new(fault).on(Operation::Open));
    }

    /// On the `n`th open from now on.
    fn inject_nth(&self, n: u64, fault: Fault) {
        self.store.inject(FaultRule::new(fault).on(Operation::Open).nth(n));
    }

    fn opens(&self) -> usize {
        self.store.count(Operation::Open)
    }

    /// Runs `work` while time passes in steps of 100 ms, but only when `work` sleeps.
    async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
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

    async fn open(&self, facts: ArtifactFacts) -> Result<OpenedObject, ArtifactStoreError> {
        self.while_time_passes(self.reads.open(&key(), facts, 0..facts.size)).await
    }

    async fn open_right(&self, range: Range<u64>) -> ArtifactBytes {
        let key = key();
        let opened = self.reads.open(&key, facts(&content()), range);
        match self.while_time_passes(opened).await.unwrap() {
            OpenedObject::Bytes(bytes) => bytes,
            OpenedObject::Missing | OpenedObject::Different => panic!("it is the right object"),
        }
    }

    /// What arrives of `range`, and how it ends.
    async fn read(&self, range: Range<u64>) -> (Vec<u8>, Result<(), ArtifactStoreError>) {
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

    async fn assert_reads(&self, range: Range<u64>) {
        let (arrived, end) = self.read(range.clone()).await;
        end.unwrap();
        let expected = content().slice(offsets(range));
        assert!(arrived == expected, "{} of {} bytes", arrived.len(), expected.len());
    }

    fn counts(&self) -> (u64, u64) {
        let counts = self.reads.resumes();
        (counts.resumed.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed))
    }
}

fn offsets(range: Range<u64>) -> Range<usize> {
    range.start.try_into().unwrap()..range.end.try_into().unwrap()
}

fn key() -> ArtifactKey {
    "firmware/demo/1.2.3/firmware.bin".parse().unwrap()
}

/// Bytes of which no two near ones look alike.
fn content() -> Bytes {
    (0..SIZE).map(|n| u8::try_from((n * n / 7 + n) % 251).unwrap()).collect()
}

fn other_content() -> Bytes {
    content().iter().map(|byte| byte ^ 0xff).collect()
}

fn facts(content: &Bytes) -> ArtifactFacts {
    ArtifactFacts { size: content.len() as u64, sha256: Sha256Digest::of(content) }
}

const fn cut(after_bytes: u64) -> Fault {
    Fault::CutStream { after_bytes }
}

const fn short(after_bytes: u64) -> Fault {
    Fault::ShortRead { after_bytes }
}

#[tokio::test]
async fn an_undisturbed_read_opens_once_and_never_sleeps() {
    let desk = Desk::filled().await;
    let start = desk.clock.now();
    desk.assert_reads(0..SIZE).await;
    assert_eq!(desk.opens(), 1);
    assert_eq!(desk.clock.now(), start);
    assert_eq!(desk.counts(), (0, 0));
    for range in [0..1, 9999..SIZE, 999..1001, 1234..5678] {
        desk.assert_reads(range).await;
    }
}

#[tokio::test]
async fn a_read_that_breaks_off_goes_on_at_the_failed_offset() {
    for after_bytes in [0, 1, 999, 1000, 4321, SIZE - 1] {
        let desk = Desk::filled().await;
        desk.inject_nth(1, cut(after_bytes));
        desk.assert_reads(0..SIZE).await;
        assert_eq!(desk.opens(), 2);
        assert_eq!(desk.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_an_error_is_resumed() {
    for after_bytes in [0, 1, 1000, 4321, SIZE - 1] {
        let desk = Desk::filled().await;
        desk.inject_nth(1, short(after_bytes));
        desk.assert_reads(0..SIZE).await;
        assert_eq!(desk.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_part_is_resumed_within_the_part() {
    let desk = Desk::filled().await;
    desk.inject_nth(1, cut(1500));
    desk.inject_nth(2, short(1));
    desk.assert_reads(2000..7000).await;
    assert_eq!(desk.counts(), (2, 0));
}

#[tokio::test]
async fn a_break_behind_the_last_byte_is_none() {
    let desk = Desk::filled().await;
    desk.inject(cut(SIZE));
    desk.assert_reads(0..SIZE).await;
    assert_eq!((desk.opens(), desk.counts()), (1, (0, 0)));
}

#[tokio::test]
async fn three_breaks_are_survived_with_growing_pauses() {
    let desk = Desk::filled().await;
    let start = desk.clock.now();
    for n in 1..=3 {
        desk.inject_nth(n, cut(2000));
    }
    desk.assert_reads(0..SIZE).await;
    assert_eq!(desk.opens(), 4);
    assert_eq!(desk.clock.now().since(start), Duration::from_millis(100 + 400 + 1600));
    assert_eq!(desk.counts(), (3, 0));
}

#[tokio::test]
async fn the_fourth_break_is_the_end_even_if_bytes_came_each_time() {
    for fault in [cut(2000), short(2000)] {
        let desk = Desk::filled().await;
        desk.inject(fault);
        let (arrived, end) = desk.read(0..SIZE).await;
        assert!(matches!(end, Err(ArtifactStoreError::Unavailable { operation: "read", .. })));
        assert_eq!(arrived, content()[..8000]);
        assert_eq!(desk.opens(), 4);
        assert_eq!(desk.counts(), (3, 1));
    }
}

#[tokio::test]
async fn a_store_that_stays_down_ends_the_read_after_three_tries() {
    let desk = Desk::filled().await;
    desk.inject_nth(1, cut(2000));
    desk.store.inject(FaultRule::new(Fault::Fail).on(Operation::Open).from_nth(2));
    let (arrived, end) = desk.read(0..SIZE).await;
    assert!(matches!(end, Err(ArtifactStoreError::Unavailable { operation: "open", .. })));
    assert_eq!(arrived, content()[..2000]);
    assert_eq!(desk.opens(), 4);
    assert_eq!(desk.counts(), (0, 1));
}

#[tokio::test]
async fn a_store_that_comes_back_in_time_is_read_to_the_end() {
    let desk = Desk::filled().await;
    desk.inject_nth(1, cut(2000));
    desk.inject_nth(2, Fault::Fail);
    desk.inject_nth(3, Fault::FailAfter);
    desk.assert_reads(0..SIZE).await;
    assert_eq!((desk.opens(), desk.counts()), (4, (1, 0)));
}

#[tokio::test]
async fn a_resumed_read_never_goes_on_with_another_object() {
    for replacement in [other_content(), content(), content().slice(..3000)] {
        let desk = Desk::filled().await;
        desk.inject_nth(1, cut(2000));
        let mut bytes = desk.open_right(0..SIZE).await;
        desk.put(replacement).await;
        let mut arrived = Vec::new();
        let end = desk.while_time_passes(async {
            while let Some(piece) = bytes.try_next().await? {
                arrived.extend_from_slice(&piece);
            }
            Ok::<(), ArtifactStoreError>(())
        });
        assert!(end.await.is_err());
        assert_eq!(arrived, content()[..2000]);
        assert_eq!((desk.opens(), desk.counts()), (2, (0, 1)));
    }
}

#[tokio::test]
async fn a_resumed_read_ends_when_the_object_is_gone() {
    let desk = Desk::filled().await;
    desk.inject_nth(1, cut(2000));
    let bytes = desk.open_right(0..SIZE).await;
    desk.store.delete(&[key()]).await.unwrap();
    let collected: Result<Vec<_>, _> = desk.while_time_passes(bytes.try_collect()).await;
    assert!(collected.is_err());
    assert_eq!(desk.opens(), 2);
}

#[tokio::test]
async fn an_absent_object_is_missing_and_an_outage_is_not() {
    for metadata in [true, false] {
        let desk = Desk::new(metadata);
        let facts = facts(&content());
        assert!(matches!(desk.open(facts).await, Ok(OpenedObject::Missing)));
        assert!(!desk.reads.holds(&key(), facts).await.unwrap());
        desk.store.set_down(true);
        let down = desk.open(facts).await;
        assert!(matches!(down, Err(ArtifactStoreError::Unavailable { .. })));
        assert!(desk.reads.holds(&key(), facts).await.is_err());
        // Nothing is remembered of either.
        desk.store.set_down(false);
        desk.put(content()).await;
        desk.assert_reads(0..SIZE).await;
    }
}

#[tokio::test]
async fn an_object_of_another_length_is_different_without_being_read() {
    for metadata in [true, false] {
        for wrong in [content().slice(1..), Bytes::new(), [content(), content()].concat().into()] {
            let desk = Desk::new(metadata).with(wrong).await;
            let facts = facts(&content());
            assert!(matches!(desk.open(facts).await, Ok(OpenedObject::Different)));
            assert!(!desk.reads.holds(&key(), facts).await.unwrap());
            assert_eq!(desk.opens(), 2);
        }
    }
}

#[tokio::test]
async fn an_object_of_other_bytes_is_different() {
    for (metadata, opens) in [(true, 1), (false, 2)] {
        let desk = Desk::new(metadata).with(other_content()).await;
        assert!(matches!(desk.open(facts(&content())).await, Ok(OpenedObject::Different)));
        assert_eq!(desk.opens(), opens);
        // Known by now: one look is enough.
        assert!(!desk.reads.holds(&key(), facts(&content())).await.unwrap());
        assert_eq!(desk.opens(), opens + 1);
        assert!(desk.reads.holds(&key(), facts(&other_content())).await.unwrap());
    }
}

#[tokio::test]
async fn a_whole_object_that_was_damaged_never_looks_complete() {
    let desk = Desk::over(true, true).with(content()).await;
    let (arrived, end) = desk.read(0..SIZE).await;
    assert!(matches!(end, Err(ArtifactStoreError::Damaged { .. })), "{end:?}");
    assert_eq!(arrived.len(), offsets(0..SIZE).len() - PIECE, "the last piece is kept back");
    let (arrived, end) = desk.read(0..SIZE - 1).await;
    end.unwrap();
    assert_eq!(arrived.len(), offsets(0..SIZE).len() - 1, "a part has no digest of its own");
}

#[tokio::test]
async fn an_object_without_metadata_is_hashed_only_once() {
    let desk = Desk::new(false).with(content()).await;
    desk.assert_reads(5..10).await;
    // Its size, its hash, the bytes asked for.
    assert_eq!(desk.opens(), 3);
    for n in 1..=5 {
        desk.assert_reads(0..SIZE).await;
        assert_eq!(desk.opens(), 3 + n);
    }
    desk.put(content()).await;
    desk.assert_reads(0..SIZE).await;
    assert_eq!(desk.opens(), 8 + 3, "another object is hashed anew");
}

#[tokio::test]
async fn a_replaced_object_is_not_vouched_for_by_the_one_before() {
    let desk = Desk::new(false).with(content()).await;
    desk.assert_reads(0..SIZE).await;
    desk.put(other_content()).await;
    assert!(matches!(desk.open(facts(&content())).await, Ok(OpenedObject::Different)));
    assert!(matches!(desk.open(facts(&other_content())).await, Ok(OpenedObject::Bytes(_))));
}

#[tokio::test]
async fn hashing_survives_breaks_and_is_not_fooled_by_them() {
    let desk = Desk::new(false).with(content()).await;
    desk.inject_nth(2, cut(3000));
    desk.inject_nth(3, short(3000));
    desk.assert_reads(0..SIZE).await;
    assert_eq!((desk.opens(), desk.counts()), (5, (2, 0)));
}

#[tokio::test]
async fn an_object_that_cannot_be_hashed_is_an_outage_and_hashed_the_next_time() {
    let desk = Desk::new(false).with(content()).await;
    desk.store.inject(FaultRule::new(short(100)).on(Operation::Open).from_nth(2));
    assert!(desk.open(facts(&content())).await.is_err());
    desk.store.clear_faults();
    desk.assert_reads(0..SIZE).await;
}

#[tokio::test]
async fn an_object_replaced_after_hashing_is_different() {
    for replacement in [other_content(), content()] {
        let desk = Desk::new(false).with(content()).await;
        let gate = Gate::new();
        desk.inject_nth(3, Fault::Hold(gate.clone()));
        let replace = async {
            gate.arrived().await;
            desk.put(replacement).await;
            gate.open();
        };
        let (opened, ()) = join(desk.open(facts(&content())), replace).await;
        assert!(matches!(opened, Ok(OpenedObject::Different)));
    }
}

#[tokio::test]
async fn an_empty_object_is_opened_without_asking_for_a_part_of_it() {
    for metadata in [true, false] {
        let desk = Desk::new(metadata).with(Bytes::new()).await;
        let facts = facts(&Bytes::new());
        assert!(desk.reads.holds(&key(), facts).await.unwrap());
        let Ok(OpenedObject::Bytes(bytes)) = desk.open(facts).await else {
            panic!("it is the right object")
        };
        let pieces: Vec<Bytes> = bytes.try_collect().await.unwrap();
        assert!(pieces.is_empty());
    }
}
