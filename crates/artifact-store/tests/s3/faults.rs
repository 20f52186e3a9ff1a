//! Servers and networks that misbehave: an outage is never reported as absence, damaged bytes are
//! never accepted, and every call ends soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coredock_artifact_store::{S3ArtifactStore, S3Options};
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::ArtifactPrefix;
use coredock_domain::artifacts::store::{ArtifactFacts, ArtifactStoreError, ByteRange, read_all};
use coredock_domain::artifacts::verified_reads::{OpenedObject, VerifiedReads};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::timestamp::Timestamp;
use coredock_testkit::clock::SettableClock;
use coredock_testkit::s3::S3TestServer;
use coredock_testkit::s3_proxy::{S3Proxy, Trouble};
use futures::TryStreamExt;

use crate::support::{fresh_store, key, open, options, spooled};

const MIB: usize = 1 << 20;
/// Short, so that waiting for it does not take long.
const LIMIT: Duration = Duration::from_millis(600);

/// For tests that must not reach the limit, also on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// A store behind a proxy, on s3s-fs.
async fn behind_proxy(limit: Duration) -> (S3ArtifactStore, S3Proxy) {
    let server = S3TestServer::s3s();
    let proxy = S3Proxy::start(&server);
    let (_, options) = fresh_store(&server).await;
    let endpoint = Some(proxy.server(&server).endpoint);
    (open(&S3Options { endpoint, timeout: limit, ..options }), proxy)
}

fn small() -> ArtifactBody {
    Bytes::from(vec![7; 1000]).into()
}

fn is_outage<T>(result: &Result<T, ArtifactStoreError>) -> bool {
    matches!(result, Err(ArtifactStoreError::Unavailable { .. }))
}

/// Every operation fails, and none of them says that something is absent.
async fn check_outage(store: &S3ArtifactStore, context: &str) {
    let (present, other) = (key("coredumps/abcd2345/1.dmp"), key("coredumps/abcd2345/2.dmp"));
    assert!(is_outage(&store.put(&present, &small()).await), "{context}: put");
    assert!(is_outage(&store.open(&present, ByteRange::Full).await), "{context}: open");
    let part = ByteRange::Part { start: 0, end: 1 };
    assert!(is_outage(&store.open(&present, part).await), "{context}: open a part");
    assert!(is_outage(&store.copy(&present, &other).await), "{context}: copy");
    assert!(is_outage(&store.delete(&[present, other]).await), "{context}: delete");
    let listed: Result<Vec<_>, _> = store.list(ArtifactPrefix::Coredumps).try_collect().await;
    assert!(is_outage(&listed), "{context}: list");
}

#[tokio::test]
async fn refusals_and_unexpected_answers_are_outages() {
    let (store, proxy) = behind_proxy(LIMIT).await;
    for trouble in [
        Trouble::error(403, "AccessDenied"),
        Trouble::error(403, "InvalidAccessKeyId"),
        Trouble::error(404, "NoSuchBucket"),
        Trouble::error(400, "AuthorizationHeaderMalformed"),
        Trouble::error(301, "PermanentRedirect"),
        Trouble::error(500, "InternalError"),
        Trouble::error(503, "SlowDown"),
        Trouble::page(200),
        Trouble::page(404),
        Trouble::page(502),
        Trouble::Answer { status: 404, body: String::new() },
        Trouble::Answer { status: 200, body: "{}".to_owned() },
    ] {
        let context = format!("{trouble:?}");
        proxy.inject("", trouble, usize::MAX);
        check_outage(&store, &context).await;
        proxy.clear();
    }
}

#[tokio::test]
async fn a_missing_bucket_is_an_outage() {
    let store = open(&options(&S3TestServer::moto()));
    check_outage(&store, "moto").await;
    // Here a PUT creates the bucket, and a deletion in a missing bucket succeeds.
    let store = open(&options(&S3TestServer::s3s()));
    let (from, to) = (key("coredumps/abcd2345/1.dmp"), key("coredumps/abcd2345/2.dmp"));
    assert!(is_outage(&store.open(&from, ByteRange::Full).await));
    assert!(is_outage(&store.copy(&from, &to).await));
    let listed: Result<Vec<_>, _> = store.list(ArtifactPrefix::Coredumps).try_collect().await;
    assert!(is_outage(&listed));
}

#[tokio::test]
async fn an_unreachable_server_is_reported_at_once() {
    let server = S3TestServer::s3s();
    let proxy = S3Proxy::start(&server);
    let unreachable = S3Options { timeout: LIMIT, ..options(&proxy.server(&server)) };
    drop(proxy);
    let begun = Instant::now();
    check_outage(&open(&unreachable), "unreachable").await;
    assert!(begun.elapsed() < 6 * LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn silence_ends_after_the_limit() {
    let (store, proxy) = behind_proxy(LIMIT).await;
    proxy.inject("", Trouble::Silence, usize::MAX);
    let begun = Instant::now();
    check_outage(&store, "silence").await;
    let requests = u32::try_from(proxy.requests().len()).unwrap();
    assert!(begun.elapsed() < (requests + 1) * LIMIT, "{:?}", begun.elapsed());
    assert!(requests <= 6, "a silent server is not asked again: {:?}", proxy.requests());
}

#[tokio::test]
async fn a_delete_is_open_until_the_server_itself_has_answered() {
    let (store, proxy) = behind_proxy(LIMIT).await;
    for (trouble, open) in [
        (Trouble::error(403, "AccessDenied"), false),
        (Trouble::error(503, "SlowDown"), false),
        (Trouble::page(502), true),
        (Trouble::page(200), true),
        (Trouble::Silence, true),
    ] {
        let context = format!("{trouble:?}");
        proxy.inject("", trouble, usize::MAX);
        let failed = store.delete(&[key("coredumps/abcd2345/1.dmp")]).await.unwrap_err();
        assert_eq!(failed.is_open(), open, "{context}");
        proxy.clear();
    }
    drop(proxy);
    let failed = store.delete(&[key("coredumps/abcd2345/1.dmp")]).await.unwrap_err();
    assert!(!failed.is_open(), "no request was sent: {failed}");
}

#[tokio::test]
async fn short_bursts_of_errors_pass_unnoticed() {
    let (store, proxy) = behind_proxy(LONG).await;
    let (object, copied) = (key("coredumps/abcd2345/1.dmp"), key("coredumps/abcd2345/2.dmp"));
    let burst = |line| {
        proxy.inject(line, Trouble::error(503, "SlowDown"), 1);
    };
    burst("PUT");
    burst("HEAD");
    store.put(&object, &small()).await.unwrap();
    burst("GET");
    assert!(read_all(&store, &object, u64::MAX).await.unwrap().is_some());
    burst("PUT");
    store.copy(&object, &copied).await.unwrap();
    burst("GET");
    let listed: Vec<_> = store.list(ArtifactPrefix::Coredumps).try_collect().await.unwrap();
    assert_eq!(listed.len(), 2);
    burst("POST");
    store.delete(&[object, copied]).await.unwrap();
}

#[tokio::test]
async fn bytes_damaged_on_their_way_are_refused() {
    let (store, proxy) = behind_proxy(LONG).await;
    let object = key("firmware/demo/1.0/firmware.bin");
    proxy.inject("PUT", Trouble::CorruptRequest, usize::MAX);
    assert!(is_outage(&store.put(&object, &small()).await), "in one piece");
    assert!(is_outage(&store.put(&object, &spooled(9 * MIB)).await), "in parts");
    proxy.clear();
    assert!(read_all(&store, &object, u64::MAX).await.unwrap().is_none(), "nothing was stored");
    let aborted = |request: &String| request.starts_with("DELETE") && request.contains("uploadId");
    assert!(proxy.requests().iter().any(aborted), "{:?}", proxy.requests());
}

#[tokio::test]
async fn large_files_go_in_parts_of_8_mib() {
    let (store, proxy) = behind_proxy(LONG).await;
    let object = key("firmware/demo/1.0/firmware.elf");
    let body = spooled(17 * MIB);
    let stored = store.put(&object, &body).await.unwrap();
    assert_eq!((stored.size, stored.sha256), (body.length(), Some(body.sha256())));
    let parts = proxy.requests().into_iter().filter(|request| request.contains("partNumber"));
    assert_eq!(parts.count(), 3);
    let content = read_all(&store, &object, u64::MAX).await.unwrap().unwrap();
    assert_eq!(Sha256Digest::of(&content), body.sha256());
}

#[tokio::test]
async fn broken_and_stalled_bodies_are_resumed() {
    let (store, proxy) = behind_proxy(LIMIT).await;
    let object = key("firmware/demo/1.0/firmware.bin");
    let body = ArtifactBody::from(Bytes::from(vec![7; MIB]));
    store.put(&object, &body).await.unwrap();
    for trouble in [Trouble::CutAnswer(MIB / 2), Trouble::StallAnswer(MIB / 2)] {
        proxy.inject("GET", trouble.clone(), 1);
        let read = read_all(&store, &object, u64::MAX).await;
        assert!(is_outage(&read), "the store reports {trouble:?}");

        proxy.inject("GET", trouble, 1);
        let clock = Arc::new(SettableClock::at(Timestamp::from_micros(0)));
        let reads = VerifiedReads::new(Arc::new(store.clone()), clock.clone());
        let facts = ArtifactFacts { size: body.length(), sha256: body.sha256() };
        let read = async {
            let opened = reads.open(&object, facts, 0..facts.size).await.unwrap();
            let OpenedObject::Bytes(bytes) = opened else { panic!("the object matches its row") };
            bytes.try_collect::<Vec<_>>().await.unwrap().concat()
        };
        let pause_passes = async {
            while clock.sleeping() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(1));
        };
        let (bytes, ()) = futures::join!(read, pause_passes);
        assert_eq!(Sha256Digest::of(&bytes), body.sha256());
    }
}

#[tokio::test]
async fn a_slow_transfer_may_take_longer_than_the_limit() {
    let (store, proxy) = behind_proxy(LIMIT).await;
    let object = key("firmware/demo/1.0/firmware.bin");
    store.put(&object, &ArtifactBody::from(Bytes::from(vec![7; MIB]))).await.unwrap();
    proxy.inject("GET", Trouble::SlowAnswer(8, LIMIT / 4), 1);
    let begun = Instant::now();
    let content = read_all(&store, &object, u64::MAX).await.unwrap().unwrap();
    assert_eq!(content.len(), MIB);
    assert!(begun.elapsed() > LIMIT, "it took longer than the limit");
}

#[tokio::test]
async fn a_slow_upload_may_take_longer_than_the_limit() {
    // Buffers of the system hide the progress of the last bytes, which must take less than this.
    let limit = Duration::from_secs(2);
    let (store, proxy) = behind_proxy(limit).await;
    proxy.inject("PUT", Trouble::SlowRequest(limit / 20), 1);
    let begun = Instant::now();
    store.put(&key("firmware/demo/1.0/firmware.bin"), &spooled(8 * MIB)).await.unwrap();
    assert!(begun.elapsed() > limit, "it took longer than the limit");
}

#[tokio::test]
async fn servers_without_batches_delete_one_by_one() {
    for refusal in [Trouble::error(501, "NotImplemented"), Trouble::page(405)] {
        let (store, proxy) = behind_proxy(LONG).await;
        let keys = [1, 2, 3].map(|id| key(&format!("coredumps/abcd2345/{id}.dmp")));
        proxy.inject("POST", refusal, usize::MAX);
        for _ in 0..2 {
            for key in &keys[..2] {
                store.put(key, &small()).await.unwrap();
            }
            store.delete(&keys).await.unwrap();
            for key in &keys {
                assert!(store.open(key, ByteRange::Full).await.unwrap().is_none(), "{key}");
            }
        }
        let batches = proxy.requests().into_iter().filter(|request| request.starts_with("POST"));
        assert_eq!(batches.count(), 1, "only the first batch is sent");
    }
}
