use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::store::{ArtifactStoreError, ByteRange};
use futures::TryStreamExt;
use futures::future::{join, join_all};

use super::{Backend, content, identity, is_absent, key, pattern, put, spooled};

const LARGE: usize = 3 << 20;

pub(super) async fn replacing_changes_the_identity(store: &dyn ArtifactStore) {
    let key = key("firmware/contract/2.0/firmware.bin");
    let mut identities = Vec::new();
    // Equal lengths, and at last the first bytes again.
    for seed in [1, 2, 3, 1] {
        let stored = put(store, &key, pattern(seed, 5000)).await;
        assert_eq!(identity(store, &key).await, stored.identity, "reading changes nothing");
        assert_eq!(content(store, &key).await, pattern(seed, 5000));
        identities.push(stored.identity);
    }
    let changed = identities.windows(2).take(2).all(|pair| pair[0] != pair[1]);
    assert!(changed, "other bytes have another identity: {identities:?}");
}

pub(super) async fn open_bodies_survive_replacement_and_deletion(store: &dyn ArtifactStore) {
    let key = key("firmware/contract/3.0/firmware.bin");
    put(store, &key, spooled(&pattern(1, LARGE))).await;
    for replacing in [true, false] {
        let old = content(store, &key).await;
        let opened = store.open(&key, ByteRange::Full).await.expect("the object is readable");
        let mut body = opened.expect("the object is there").body;
        let first = body.try_next().await.expect("the body is readable").expect("it has bytes");
        if replacing {
            put(store, &key, spooled(&pattern(2, LARGE - 5))).await;
        } else {
            store.delete(std::slice::from_ref(&key)).await.expect("the object is deleted");
        }
        let rest: Vec<_> = body.try_collect().await.expect("the old bytes are readable");
        assert!([first, Bytes::from(rest.concat())].concat() == *old, "the old bytes, all of them");
    }
}

pub(super) async fn readers_never_see_a_mixture(store: &dyn ArtifactStore) {
    let key = key("firmware/contract/4.0/firmware.bin");
    let values = [pattern(1, LARGE), pattern(2, LARGE / 2), pattern(3, 100)];
    put(store, &key, values[0].clone()).await;
    let write = async {
        for value in values.iter().cycle().take(12) {
            put(store, &key, spooled(value)).await;
        }
    };
    let read = async {
        for _ in 0..12 {
            assert!(values.contains(&content(store, &key).await), "one whole value");
        }
    };
    join(write, read).await;
}

pub(super) async fn writers_of_one_key_leave_one_whole_value(store: &dyn ArtifactStore) {
    let key = key("firmware/contract/5.0/firmware.bin");
    let values: Vec<_> = (1..=8).map(|seed| pattern(seed, LARGE / usize::from(seed))).collect();
    let bodies: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(index, value)| match index % 2 {
            0 => ArtifactBody::from(spooled(value)),
            _ => ArtifactBody::from(value.clone()),
        })
        .collect();
    let stored = join_all(bodies.iter().map(|body| store.put(&key, body))).await;
    for (stored, value) in stored.into_iter().zip(&values) {
        let stored = stored.expect("no writer fails because of another");
        assert_eq!(stored.size, value.len() as u64, "each writer gets the length of its bytes");
    }
    assert!(values.contains(&content(store, &key).await), "the object is one whole value");
}

pub(super) async fn copies_are_independent_of_their_source(
    store: &dyn ArtifactStore,
    backend: Backend,
) {
    let from = key("staging/c0/firmware.bin");
    let to = key("firmware/contract/6.0/firmware.bin");
    for (seed, length) in [(1, 0), (2, 1000), (3, LARGE)] {
        let bytes = pattern(seed, length);
        let source = put(store, &from, spooled(&bytes)).await;
        // Twice: a copy interrupted before its answer is repeated.
        for _ in 0..2 {
            store.copy(&from, &to).await.expect("the object is copied");
            assert!(content(store, &to).await == bytes, "the copy has the same bytes");
        }
        let opened = store.open(&to, ByteRange::Full).await.expect("the object is readable");
        let copied = opened.expect("the copy is there").stored;
        assert_eq!((copied.size, copied.sha256), (source.size, source.sha256));
        assert_eq!(copied.sha256.is_some(), backend.metadata);
    }
    put(store, &from, Bytes::from_static(b"other")).await;
    assert!(content(store, &to).await == pattern(3, LARGE), "the copy stays as it was");
    store.delete(&[from]).await.expect("the source is deleted");
    assert!(content(store, &to).await == pattern(3, LARGE), "the copy outlives its source");
}

pub(super) async fn copying_an_absent_object_changes_nothing(store: &dyn ArtifactStore) {
    let absent = key("staging/c1/firmware.bin");
    let present = key("firmware/contract/7.0/firmware.bin");
    let other = key("firmware/contract/7.1/firmware.bin");
    put(store, &present, Bytes::from_static(b"present")).await;
    for to in [&present, &other] {
        match store.copy(&absent, to).await {
            Err(ArtifactStoreError::NotFound { key }) => assert_eq!(key, absent.to_string()),
            outcome => panic!("expected NotFound for an absent object, found {outcome:?}"),
        }
    }
    assert_eq!(content(store, &present).await, "present");
    assert!(is_absent(store, &other).await);
}
