//! The contract, on each server.

use std::collections::BTreeSet;

use coredock_artifact_store::S3ArtifactStore;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{ByteRange, StoredArtifact};
use coredock_domain::digest::Sha256Digest;
use coredock_testkit::contract::artifact_store::{
    Backend, FOREIGN_PATH, artifact_store_contract, lists_foreign_objects,
};
use coredock_testkit::s3::S3TestServer;
use futures::TryStreamExt;

use crate::support::{fresh_store, key, raw_bucket, spooled};

#[tokio::test]
async fn s3s_fs_fulfils_the_contract() {
    let (store, options) = fresh_store(&S3TestServer::s3s()).await;
    // It writes the metadata of an object after the object.
    let backend = Backend { metadata: true, stable_readers: false, separate_writers: false };
    artifact_store_contract(&store, backend).await;
    raw_bucket(&options).put_object(FOREIGN_PATH, b"foreign").await.unwrap();
    lists_foreign_objects(&store, 7).await;
}

#[tokio::test]
async fn moto_fulfils_the_contract() {
    let (store, options) = fresh_store(&S3TestServer::moto()).await;
    let backend = Backend { metadata: true, stable_readers: true, separate_writers: true };
    artifact_store_contract(&store, backend).await;
    raw_bucket(&options).put_object(FOREIGN_PATH, b"foreign").await.unwrap();
    lists_foreign_objects(&store, 7).await;
}

#[tokio::test]
async fn odd_foreign_keys_do_not_break_a_listing() {
    let (store, options) = fresh_store(&S3TestServer::moto()).await;
    let bucket = raw_bucket(&options);
    let keys = [
        "firmware/a//b",
        "firmware/",
        "firmware/folder/",
        "firmware/m/1.0%2B5/firmware.bin",
        "firmware/m/1.0+5/firmware.bin",
        "firmware/ spaces ",
        "firmware/<&>\"'",
        "firmware/\u{1}\u{7f}",
        "firmware/ü#?*\\",
    ];
    for key in keys {
        bucket.put_object(key, b"foreign").await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    let listed: Vec<_> = store.list(ArtifactPrefix::Firmware).try_collect().await.unwrap();
    let listed: BTreeSet<_> = listed.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(listed, BTreeSet::from(keys));
}

#[tokio::test]
async fn large_files_are_stored_unchanged_on_both_servers() {
    for server in [S3TestServer::s3s(), S3TestServer::moto()] {
        let (store, _) = fresh_store(&server).await;
        let from = key("staging/00ff/firmware.elf");
        // In one piece, and in two and three parts.
        for length in [8 << 20, (8 << 20) + 1, 17 << 20] {
            let body = spooled(length);
            let stored = store.put(&from, &body).await.unwrap();
            assert_eq!((stored.size, stored.sha256), (body.length(), Some(body.sha256())));
            assert_eq!(check_content(&store, &from, &stored).await, stored.identity);
            let to = key("firmware/demo/1.0/firmware.elf");
            store.copy(&from, &to).await.unwrap();
            check_content(&store, &to, &stored).await;
        }
    }
}

/// The object has the bytes and the digest of `stored`; returns its identity.
async fn check_content(
    store: &S3ArtifactStore,
    key: &ArtifactKey,
    stored: &StoredArtifact,
) -> String {
    let opened = store.open(key, ByteRange::Full).await.unwrap().unwrap();
    assert_eq!((opened.stored.size, opened.stored.sha256), (stored.size, stored.sha256));
    let content: Vec<_> = opened.body.try_collect().await.unwrap();
    assert_eq!(Some(Sha256Digest::of(&content.concat())), stored.sha256);
    opened.stored.identity
}
