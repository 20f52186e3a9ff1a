use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::{ByteRange, StoredArtifact};
use coredock_domain::digest::Sha256Digest;
use futures::TryStreamExt;

use super::{Backend, key, pattern, put, spooled};

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;

pub(super) async fn bytes_are_read_back(store: &dyn ArtifactStore, backend: Backend) {
    let key = key("coredumps/contract/1.dmp");
    for length in [0, 1, PIECE, PIECE + 1, MIB, MIB + 1] {
        let bytes = pattern(1, length);
        let stored = put(store, &key, bytes.clone()).await;
        check_read_back(store, &key, &stored, &bytes, backend).await;
    }
}

pub(super) async fn spooled_files_are_read_back(store: &dyn ArtifactStore, backend: Backend) {
    let key = key("firmware/contract/1.0/firmware.elf");
    for length in [0, 3, MIB, MIB + 1, 5 * MIB + 3] {
        let bytes = pattern(2, length);
        let stored = put(store, &key, spooled(&bytes)).await;
        check_read_back(store, &key, &stored, &bytes, backend).await;
    }
}

async fn check_read_back(
    store: &dyn ArtifactStore,
    key: &ArtifactKey,
    stored: &StoredArtifact,
    bytes: &Bytes,
    backend: Backend,
) {
    assert_eq!(stored.size, bytes.len() as u64);
    let sha256 = backend.metadata.then(|| Sha256Digest::of(bytes));
    assert_eq!(stored.sha256, sha256, "the digest is stored where the store has metadata");
    let opened = store.open(key, ByteRange::Full).await.expect("the object is readable");
    let opened = opened.expect("the object is there");
    assert_eq!(&opened.stored, stored, "reader and writer get one description");
    let pieces: Vec<_> = opened.body.try_collect().await.expect("the body is readable");
    assert!(pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())), "pieces are small");
    assert!(pieces.concat() == **bytes, "{} bytes are read back", bytes.len());
}

pub(super) async fn ranges_are_cut_at_the_end(store: &dyn ArtifactStore) {
    let key = key("firmware/contract/1.0/firmware.bin");
    let bytes = pattern(3, 200_000);
    let stored = put(store, &key, bytes.clone()).await;
    let ranges = [
        (0, 1),
        (0, 200_000),
        (1, 2),
        (65_535, 65_537),
        (70_000, 190_001),
        (199_999, 200_000),
        (199_999, 200_001),
        (100_000, u64::MAX),
        (200_000, 200_001),
        (u64::MAX - 1, u64::MAX),
    ];
    for (start, end) in ranges {
        let range = ByteRange::Part { start, end };
        let opened = store.open(&key, range).await.expect("a range is never an error");
        let opened = opened.expect("the object is there");
        assert_eq!(opened.stored, stored, "{start}..{end}: the whole object is described");
        let pieces: Vec<_> = opened.body.try_collect().await.expect("the body is readable");
        let cut = range.within(200_000);
        let expected = bytes.iter().skip(position(cut.start)).take(position(cut.end - cut.start));
        assert!(pieces.concat().iter().eq(expected), "{start}..{end}");
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("offsets here are small")
}
