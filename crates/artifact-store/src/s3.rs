//! Objects in a bucket of S3, or of a server that speaks like it.

mod failure;
mod listing;
mod options;
mod pace;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, Checksum};
use object_store::client::HttpClient;

use crate::store::{ObjectArtifactStore, StoreFeatures};

pub(crate) use failure::{Failure, error_code};
pub(crate) use listing::Listing;
pub(crate) use options::Address;
pub use options::{OpenStoreError, S3Options};
use transport::Transport;

/// Two of them are in memory at most (contract §1.6); S3 wants at least 5 MiB.
const PART_SIZE: usize = 8 << 20;

/// What S3 needs besides `object_store`. Clones share it.
#[derive(Clone)]
pub(crate) struct S3Access {
    pub(crate) listing: Listing,
    /// Deletes one by one.
    pub(crate) single_deletes: Arc<dyn ObjectStore>,
    /// The server has refused to delete many objects at once.
    no_batches: Arc<AtomicBool>,
}

impl S3Access {
    /// Whether many objects can be deleted at once, as far as is known.
    pub(crate) fn deletes_batches(&self) -> bool {
        !self.no_batches.load(Ordering::Relaxed)
    }

    /// From now on objects are deleted one by one.
    pub(crate) fn give_up_batches(&self) {
        self.no_batches.store(true, Ordering::Relaxed);
    }
}

impl ObjectArtifactStore {
    /// Keeps objects in a bucket. Connects to nothing: a bucket that cannot be reached shows when it
    /// is used. All clones share one client and its connections.
    pub fn s3(options: &S3Options) -> Result<Self, OpenStoreError> {
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
        let access = S3Access {
            listing,
            single_deletes: Arc::new(build(single)?),
            no_batches: Arc::default(),
        };
        let features = StoreFeatures { part_size: PART_SIZE, metadata: true };
        Ok(Self { s3: Some(access), ..Self::over(Arc::new(build(objects)?), features) })
    }
}

/// Retries are those of the transport. A digest is sent with every body and part, twice: as part of
/// the signature and as a checksum, because servers differ in which one they check.
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

fn build(builder: AmazonS3Builder) -> Result<AmazonS3, OpenStoreError> {
    builder.build().map_err(OpenStoreError::Store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::S3Bucket;

    #[tokio::test]
    async fn opening_connects_to_nothing() {
        let options = options::tests::options();
        assert!(ObjectArtifactStore::s3(&options).is_ok());
        assert!(S3Bucket::new(&options).is_ok());
    }
}
