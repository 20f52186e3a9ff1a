//! Opens stores on the servers of the tests.

use std::io::Write;
use std::time::Duration;

use coredock_artifact_store::{S3ArtifactStore, S3Bucket, S3Options};
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use coredock_testkit::s3::{S3TestServer, fresh_bucket};
use s3::bucket::Bucket;
use s3::creds::Credentials;
use s3::region::Region;

/// Settings of a bucket that does not exist yet.
pub(crate) fn options(server: &S3TestServer) -> S3Options {
    S3Options {
        endpoint: Some(server.endpoint.clone()),
        access_key_id: Some(server.access_key_id.clone()),
        secret_access_key: Some(server.secret_access_key.clone()),
        bucket: fresh_bucket(),
        region: "us-east-1".to_owned(),
        use_ssl: false,
        force_path_style: true,
        timeout: Duration::from_secs(10),
    }
}

pub(crate) fn open(options: &S3Options) -> S3ArtifactStore {
    S3ArtifactStore::new(options).unwrap()
}

/// A store in a new bucket.
pub(crate) async fn fresh_store(server: &S3TestServer) -> (S3ArtifactStore, S3Options) {
    let options = options(server);
    S3Bucket::new(&options).unwrap().ensure().await.unwrap();
    (open(&options), options)
}

pub(crate) fn key(path: &str) -> ArtifactKey {
    path.parse().unwrap()
}

/// A file of this many bytes.
pub(crate) fn spooled(length: usize) -> ArtifactBody {
    let mut spool = SpoolDirectory::new(std::env::temp_dir()).create().unwrap();
    let bytes: Vec<u8> = (0..length).map(|index| (index % 251).to_le_bytes()[0]).collect();
    spool.write_all(&bytes).unwrap();
    spool.finish().into()
}

/// The bucket by a client other than the store. The process has a provider of cryptography only after
/// an [`S3Bucket`](coredock_artifact_store::S3Bucket) was made.
pub(crate) fn raw_bucket(options: &S3Options) -> Box<Bucket> {
    let region = Region::Custom {
        region: options.region.clone(),
        endpoint: options.endpoint.clone().unwrap(),
    };
    let (key, secret) = (options.access_key_id.as_deref(), options.secret_access_key.as_deref());
    let credentials = Credentials::new(key, secret, None, None, None).unwrap();
    Bucket::new(&options.bucket, region, credentials).unwrap().with_path_style()
}
