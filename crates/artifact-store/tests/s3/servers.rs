//! What both servers must do.

use std::collections::BTreeSet;

use coredock_artifact_store::S3Options;
use coredock_domain::ArtifactStore;
use coredock_domain::artifact::ArtifactPrefix;
use coredock_testkit::contract::artifact_store::{
    Backend, FOREIGN_PATH, artifact_store_contract, lists_foreign_objects,
};
use coredock_testkit::s3::S3TestServer;
use futures::TryStreamExt;
use s3::bucket::Bucket;
use s3::creds::Credentials;
use s3::region::Region;

use crate::support::fresh_store;

/// The bucket as others use it.
fn raw_bucket(options: &S3Options) -> Box<Bucket> {
    let region = Region::Custom {
        region: options.region.clone(),
        endpoint: options.endpoint.clone().unwrap(),
    };
    let (key, secret) = (options.access_key_id.as_deref(), options.secret_access_key.as_deref());
    let credentials = Credentials::new(key, secret, None, None, None).unwrap();
    Bucket::new(&options.bucket, region, credentials).unwrap().with_path_style()
}

#[tokio::test]
async fn s3s_fs_keeps_the_contract() {
    let (store, options) = fresh_store(&S3TestServer::s3s()).await;
    // It writes the metadata of an object after the object.
    let backend = Backend { metadata: true, stable_readers: false, separate_writers: false };
    artifact_store_contract(&store, backend).await;
    raw_bucket(&options).put_object(FOREIGN_PATH, b"foreign").await.unwrap();
    lists_foreign_objects(&store, 7).await;
}

#[tokio::test]
async fn moto_keeps_the_contract() {
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
