//! Behaviour of the local store beyond the contract.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use coredock_artifact_store::LocalArtifactStore;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use coredock_domain::artifacts::store::{ArtifactStoreError, ByteRange, read_all};
use coredock_domain::timestamp::Timestamp;
use futures::{FutureExt, TryStreamExt};

const LATER: i64 = i64::MAX;

fn key(path: &str) -> ArtifactKey {
    path.parse().unwrap()
}

fn large() -> ArtifactBody {
    let mut spool = SpoolDirectory::new(std::env::temp_dir()).create().unwrap();
    spool.write_all(&vec![7; 3 << 20]).unwrap();
    spool.finish().into()
}

fn small() -> ArtifactBody {
    Bytes::from_static(b"small").into()
}

/// Every file below `directory`, relative to it.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.push(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_directory_is_accessible_to_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data/artifacts");
    let store = LocalArtifactStore::at(&directory).unwrap();
    store.put(&key("coredumps/abcd2345/1.dmp"), &small()).await.unwrap();
    for path in ["data", "data/artifacts", "data/artifacts/coredumps/abcd2345"] {
        let mode = fs::metadata(parent.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}

#[test]
fn a_file_in_the_place_of_the_directory_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = LocalArtifactStore::at(file.path()).err().unwrap();
    assert!(error.to_string().starts_with("could not open artifact directory /"));
    assert!(LocalArtifactStore::at(file.path().join("below")).is_err());
}

#[tokio::test]
async fn an_object_has_one_identity_on_every_handle() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    let key = key("coredumps/abcd2345/1.dmp");
    let written = store.put(&key, &small()).await.unwrap();
    let elsewhere = store.open(&key, ByteRange::Full).await.unwrap().unwrap();
    let here = store.on_caller_thread();
    let opening = here.open(&key, ByteRange::Full).now_or_never();
    let here = opening.expect("the operation waits for no other thread").unwrap().unwrap();
    assert_eq!([&elsewhere.stored, &here.stored], [&written; 2]);
}

/// Runs without a runtime, and therefore without a blocking pool.
#[test]
fn on_the_calling_thread_every_operation_is_ready_at_once() {
    fn at_once<T>(operation: impl Future<Output = T>) -> T {
        operation.now_or_never().expect("the operation waits for no other thread")
    }
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap().on_caller_thread();
    let (first, second) = (key("coredumps/abcd2345/1.dmp"), key("coredumps/abcd2345/2.dmp"));
    for body in [large(), small()] {
        at_once(store.put(&first, &body)).unwrap();
    }
    at_once(store.copy(&first, &second)).unwrap();
    assert_eq!(at_once(read_all(&store, &second, 5)).unwrap().unwrap(), "small");
    let listed: Vec<_> = at_once(store.list(ArtifactPrefix::Coredumps).try_collect()).unwrap();
    assert_eq!(listed.len(), 2);
    at_once(store.delete(&[first, second])).unwrap();
    assert_eq!(at_once(store.clean_leftovers(Timestamp::from_micros(LATER))).unwrap(), 0);
    assert!(files(directory.path()).is_empty());
}

#[tokio::test]
async fn neither_puts_nor_repeated_copies_leave_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    let (from, to) = (key("staging/00ff/firmware.bin"), key("firmware/demo/1.0/firmware.bin"));
    for _ in 0..3 {
        store.put(&from, &large()).await.unwrap();
        store.copy(&from, &to).await.unwrap();
        store.copy(&from, &to).await.unwrap();
        store.copy(&to, &to).await.unwrap();
    }
    assert_eq!(files(directory.path()), [to.to_string(), from.to_string()]);
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing_unless_it_was_done() {
    for _ in 0..1000 {
        if drop_a_put_half_way().await {
            return;
        }
    }
    panic!("each put was done before it could be dropped");
}

/// `false` when another thread had completed the put before it was dropped.
async fn drop_a_put_half_way() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    let (object, body) = (key("firmware/demo/1.0/firmware.bin"), large());
    let mut put = store.put(&object, &body);
    while files(directory.path()).is_empty() {
        if futures::poll!(&mut put).is_ready() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    drop(put);
    loop {
        let left = files(directory.path());
        if left.is_empty() {
            break;
        }
        if left == [object.to_string()] {
            return false;
        }
        tokio::task::yield_now().await;
    }
    assert!(store.open(&object, ByteRange::Full).await.unwrap().is_none());
    true
}

#[tokio::test]
async fn leftovers_are_not_listed_and_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    let object = key("firmware/demo/1.0/firmware.bin");
    store.put(&object, &small()).await.unwrap();
    let leftovers = [
        "firmware/demo/1.0/firmware.bin.a1B2c3D4e5.part",
        "coredock/owner.a1B2c3D4e5.part",
        // Names of earlier versions.
        "firmware/demo/1.0/firmware.bin#1",
        "firmware/demo/1.0/firmware.map#12",
    ];
    fs::create_dir(directory.path().join("coredock")).unwrap();
    for leftover in leftovers {
        fs::write(directory.path().join(leftover), b"half").unwrap();
    }
    let foreign = [
        "firmware/demo/1.0/firmware.bin#x",
        "firmware/demo/1.0/firmware.bin.part",
        "firmware/demo/1.0/notes#1",
        "notes#1",
    ];
    for foreign in foreign {
        fs::write(directory.path().join(foreign), b"foreign").unwrap();
    }
    let listed: Vec<_> = store.list(ArtifactPrefix::Firmware).try_collect().await.unwrap();
    assert!(listed.iter().all(|listed| listed.path == object.to_string() || listed.size == 7));

    assert_eq!(store.clean_leftovers(Timestamp::from_micros(0)).await.unwrap(), 0);
    assert_eq!(store.clean_leftovers(Timestamp::from_micros(LATER)).await.unwrap(), 4);
    let mut expected = foreign.map(str::to_owned).to_vec();
    expected.push(object.to_string());
    expected.sort();
    assert_eq!(files(directory.path()), expected);
    // A leftover does not stop a write.
    fs::write(directory.path().join("firmware/demo/1.0/firmware.bin#1"), b"half").unwrap();
    store.put(&object, &large()).await.unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_an_outage_not_absence() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("artifacts");
    let store = LocalArtifactStore::at(&directory).unwrap();
    let object = key("coredumps/abcd2345/1.dmp");
    store.put(&object, &small()).await.unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let outage = |error| matches!(error, ArtifactStoreError::Unavailable { .. });
    assert!(outage(store.open(&object, ByteRange::Full).await.err().unwrap()));
    assert!(outage(store.copy(&object, &key("coredumps/abcd2345/2.dmp")).await.unwrap_err()));
    assert!(outage(store.delete(&[object]).await.unwrap_err()));
    let listed: Result<Vec<_>, _> = store.list(ArtifactPrefix::Coredumps).try_collect().await;
    assert!(outage(listed.unwrap_err()));
}

#[tokio::test]
async fn a_failed_read_or_write_is_an_outage() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalArtifactStore::at(directory.path()).unwrap();
    let object = key("firmware/demo/1.0/firmware.bin");
    // A file where a directory should be: nothing below it can be reached.
    fs::write(directory.path().join("firmware"), b"").unwrap();
    for body in [small(), large()] {
        let error = store.put(&object, &body).await.unwrap_err();
        assert_eq!(error.to_string(), format!("artifact store could not put {object}"));
    }
    assert!(store.open(&object, ByteRange::Full).await.is_err());
    assert!(store.delete(std::slice::from_ref(&object)).await.is_err());
    fs::remove_file(directory.path().join("firmware")).unwrap();
    // A directory where the object should be: the last step fails.
    fs::create_dir_all(directory.path().join(object.to_string())).unwrap();
    for body in [small(), large()] {
        assert!(store.put(&object, &body).await.is_err());
    }
}
