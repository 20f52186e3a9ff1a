//! Objects in a bucket of S3, or of a server with the same protocol.

mod body;
mod bucket;
mod delete;
mod failure;
mod listing;
mod options;
mod pace;
mod put;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::{
    Artifact, ArtifactStoreError, ByteRange, ListedObject, StoredArtifact,
};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, Checksum};
use object_store::client::HttpClient;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore,
    ObjectStoreExt, RetryConfig,
};

pub use bucket::{BucketError, BucketState, S3Bucket};
use failure::Failure;
use listing::Listing;
use options::Address;
pub use options::{OpenStoreError, S3Options};
use transport::Transport;

/// Why an operation failed, before it is mapped to the error of the port.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const SHA256: &str = "sha256";
/// An offset behind the end of any object. s3s-fs rejects offsets beyond 63 bits.
const MAX_OFFSET: u64 = 1 << 62;

/// The [`ArtifactStore`] in a bucket. Objects have their SHA-256 in their metadata. Clones share
/// one client and its connections.
#[derive(Clone)]
pub struct S3ArtifactStore {
    objects: AmazonS3,
    /// The same bucket, for servers which delete one object per request only.
    single_deletes: AmazonS3,
    /// Set when the server has refused to delete several objects with one request.
    no_batches: Arc<AtomicBool>,
    listing: Listing,
}

impl S3ArtifactStore {
    /// Opens no connection: if the bucket cannot be reached, operations fail.
    pub fn new(options: &S3Options) -> Result<Self, OpenStoreError> {
        let address = options.address()?;
        let transport = Transport::new(options.timeout).map_err(OpenStoreError::Client)?;
        let client = HttpClient::new(transport.clone());
        let objects = amazon(options, &address, transport.clone());
        let single = amazon(options, &address, transport).with_disable_bulk_delete(true);
        let listing = Listing {
            client,
            credential: Arc::new(AwsCredential {
                key_id: address.access_key_id,
                secret_key: address.secret_access_key,
                token: None,
            }),
            region: options.region.clone(),
            url: address.bucket_url,
        };
        Ok(Self {
            objects: objects.build().map_err(OpenStoreError::Store)?,
            single_deletes: single.build().map_err(OpenStoreError::Store)?,
            no_batches: Arc::default(),
            listing,
        })
    }

    /// Call it when an object seems absent: an error when the bucket is missing, because then
    /// nothing is known about the object.
    async fn check_present(
        &self,
        operation: &'static str,
        key: &ArtifactKey,
    ) -> Result<(), ArtifactStoreError> {
        let present = self.listing.check_present().await;
        present.map_err(|source| ArtifactStoreError::unavailable(operation, key, source))
    }

    /// The result for a part whose read was refused. S3 refuses a part which begins at or behind
    /// the end of the object; the port wants a part without bytes.
    async fn open_behind_end(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
        refusal: Error,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&path("open", key)?, options).await {
            Ok(found) if range.within(found.meta.size).is_empty() => {
                Ok(Some(Artifact { stored: describe(&found), body: stream::empty().boxed() }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Ok(_) | Err(_) => Err(ArtifactStoreError::unavailable("open", key, refusal)),
        }
    }
}

/// Without retries, because the transport retries. Each body and each part is sent with its digest
/// twice, in the signature and as a checksum, because servers differ in which of them they check.
fn amazon(options: &S3Options, address: &Address, transport: Transport) -> AmazonS3Builder {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    AmazonS3Builder::new()
        .with_http_connector(transport)
        .with_bucket_name(&options.bucket)
        .with_region(&options.region)
        .with_access_key_id(&address.access_key_id)
        .with_secret_access_key(&address.secret_access_key)
        .with_endpoint(&address.endpoint)
        .with_virtual_hosted_style_request(!address.path_style)
        .with_allow_http(true)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(retry)
}

#[async_trait]
impl ArtifactStore for S3ArtifactStore {
    async fn put(
        &self,
        key: &ArtifactKey,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, ArtifactStoreError> {
        let written = self.write(&path("put", key)?, body).await;
        written.map_err(|source| ArtifactStoreError::unavailable("put", key, source))
    }

    async fn open(
        &self,
        key: &ArtifactKey,
        range: ByteRange,
    ) -> Result<Option<Artifact>, ArtifactStoreError> {
        let wanted = match range {
            ByteRange::Full => None,
            ByteRange::Part { start, end } => {
                Some(GetRange::Bounded(start.min(MAX_OFFSET)..end.min(MAX_OFFSET + 1)))
            }
        };
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        match self.objects.get_opts(&path("open", key)?, options).await {
            Ok(found) if found.range != range.within(found.meta.size) => {
                let source = format!("expected {range:?}, the server sent {:?}", found.range);
                Err(ArtifactStoreError::unavailable("open", key, source))
            }
            Ok(found) => {
                let stored = describe(&found);
                let length = found.range.end - found.range.start;
                let body = body::pieces(found.into_stream(), length, key.to_string());
                Ok(Some(Artifact { stored, body }))
            }
            Err(Error::NotFound { .. }) => {
                self.check_present("open", key).await?;
                Ok(None)
            }
            Err(refusal) => match range {
                ByteRange::Part { .. } if may_be_behind_end(&refusal) => {
                    self.open_behind_end(key, range, refusal).await
                }
                _ => Err(ArtifactStoreError::unavailable("open", key, refusal)),
            },
        }
    }

    async fn copy(&self, from: &ArtifactKey, to: &ArtifactKey) -> Result<(), ArtifactStoreError> {
        match self.objects.copy(&path("copy", from)?, &path("copy", to)?).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => {
                self.check_present("copy", from).await?;
                Err(ArtifactStoreError::NotFound { key: from.to_string() })
            }
            Err(source) => Err(ArtifactStoreError::unavailable("copy", from, source)),
        }
    }

    async fn delete(&self, keys: &[ArtifactKey]) -> Result<(), ArtifactStoreError> {
        self.delete_all(keys).await
    }

    fn list(
        &self,
        prefix: ArtifactPrefix,
    ) -> BoxStream<'_, Result<ListedObject, ArtifactStoreError>> {
        let name = prefix.as_str();
        self.listing
            .objects(format!("{name}/"))
            .map_err(move |source| ArtifactStoreError::unavailable("list", name, source))
            .boxed()
    }
}

/// Whether the range may be the reason: the server said so, or `object_store` rejected the answer.
fn may_be_behind_end(refusal: &Error) -> bool {
    Failure::behind(refusal).is_none_or(Failure::is_behind_end)
}

/// Parses the key, because `Path::from` would percent-encode it.
fn path(operation: &'static str, key: &ArtifactKey) -> Result<Path, ArtifactStoreError> {
    Path::parse(key.to_string())
        .map_err(|source| ArtifactStoreError::unavailable(operation, key, source))
}

fn attributes(sha256: Sha256Digest) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, "application/octet-stream".to_owned()),
        (Attribute::Metadata(SHA256.into()), sha256.to_string()),
    ])
}

/// The `ETag`: the transport rejects answers to reads of objects which lack it.
fn identity(meta: &ObjectMeta) -> String {
    let written = || format!("{}-{}", Timestamp::from(meta.last_modified).micros(), meta.size);
    meta.e_tag.clone().unwrap_or_else(written)
}

fn describe(found: &GetResult) -> StoredArtifact {
    let sha256 = found.attributes.get(&Attribute::Metadata(SHA256.into()));
    StoredArtifact {
        size: found.meta.size,
        identity: identity(&found.meta),
        sha256: sha256.and_then(|text| text.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_makes_no_connection() {
        let options = options::tests::options();
        assert!(S3ArtifactStore::new(&options).is_ok());
        assert!(S3Bucket::new(&options).is_ok());
    }
}
