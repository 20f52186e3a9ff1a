//! The bucket itself.

use coredock_artifact_store::{BucketError, BucketState, S3Bucket, S3Options};
use coredock_testkit::s3::S3TestServer;

use crate::support::options;

async fn ensure(options: &S3Options) -> Result<BucketState, BucketError> {
    S3Bucket::new(options).unwrap().ensure().await
}

#[tokio::test]
async fn a_missing_bucket_is_created_once() {
    for server in [S3TestServer::s3s(), S3TestServer::moto()] {
        let options = options(&server);
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Created);
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Existed);
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_apart() {
    let mut options = options(&S3TestServer::s3s());
    options.secret_access_key = Some("wrong".to_owned());
    let error = ensure(&options).await.unwrap_err();
    assert!(matches!(error, BucketError::WrongCredentials { .. }), "{error:?}");
    options.access_key_id = Some("nobody".to_owned());
    let error = ensure(&options).await.unwrap_err();
    assert!(matches!(error, BucketError::WrongCredentials { .. }), "{error:?}");
}
