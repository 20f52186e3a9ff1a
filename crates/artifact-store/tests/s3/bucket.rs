//! The bucket itself.

use coredock_artifact_store::{BucketError, BucketState, S3Bucket, S3Options};
use coredock_testkit::s3::S3TestServer;
use coredock_testkit::s3_proxy::{S3Proxy, Trouble};
use futures::future::join_all;

use crate::support::{options, raw_bucket};

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
async fn several_processes_may_start_at_once() {
    for server in [S3TestServer::s3s(), S3TestServer::moto()] {
        let options = options(&server);
        let states = join_all((0..8).map(|_| ensure(&options))).await;
        assert!(states.iter().all(Result::is_ok), "{states:?}");
    }
}

#[tokio::test]
async fn another_region_is_named_to_the_server() {
    for server in [S3TestServer::s3s(), S3TestServer::moto()] {
        let options = S3Options { region: "eu-central-1".to_owned(), ..options(&server) };
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Created);
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Existed);
    }
}

#[tokio::test]
async fn only_a_created_bucket_gets_a_rule() {
    let server = S3TestServer::moto();
    let created = options(&server);
    ensure(&created).await.unwrap();
    let lifecycle = raw_bucket(&created).get_bucket_lifecycle().await.unwrap();
    let incomplete_uploads = lifecycle.rules[0].abort_incomplete_multipart_upload.as_ref().unwrap();
    assert_eq!(incomplete_uploads.days_after_initiation, Some(7));
    assert_eq!(lifecycle.rules.len(), 1);

    let existing = options(&server);
    raw_bucket(&existing).put_object("/", b"").await.unwrap();
    assert_eq!(ensure(&existing).await.unwrap(), BucketState::Existed);
    assert!(raw_bucket(&existing).get_bucket_lifecycle().await.is_err());
}

#[tokio::test]
async fn a_server_that_cannot_set_rules_is_fine() {
    let server = S3TestServer::moto();
    let proxy = S3Proxy::start(&server);
    for (status, code) in [(501, "NotImplemented"), (403, "AccessDenied"), (500, "InternalError")] {
        let options = options(&proxy.server(&server));
        proxy.inject("?lifecycle", Trouble::error(status, code), usize::MAX);
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Created);
        assert_eq!(ensure(&options).await.unwrap(), BucketState::Existed);
        proxy.clear();
    }
}

#[tokio::test]
async fn wrong_credentials_have_an_error_of_their_own() {
    let mut options = options(&S3TestServer::s3s());
    options.secret_access_key = Some("wrong".to_owned());
    let error = ensure(&options).await.unwrap_err();
    assert!(matches!(error, BucketError::WrongCredentials { .. }), "{error:?}");
    options.access_key_id = Some("unknown".to_owned());
    let error = ensure(&options).await.unwrap_err();
    assert!(matches!(error, BucketError::WrongCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn failures_are_described_in_a_sentence() {
    let server = S3TestServer::moto();
    let proxy = S3Proxy::start(&server);
    let options = options(&proxy.server(&server));
    let not_s3 = "the server of S3_ENDPOINT_URL does not answer like S3";
    let cases = [
        (
            "GET",
            Trouble::error(403, "AccessDenied"),
            "the S3 credentials do not permit Coredock to list the bucket of S3_BUCKET_NAME",
        ),
        (
            "PUT",
            Trouble::error(403, "AccessDenied"),
            "the S3 credentials do not permit Coredock to create the bucket of S3_BUCKET_NAME",
        ),
        (
            "GET",
            Trouble::error(403, "SignatureDoesNotMatch"),
            "S3 does not accept S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY (SignatureDoesNotMatch)",
        ),
        (
            "PUT",
            Trouble::error(409, "BucketAlreadyExists"),
            "the bucket of S3_BUCKET_NAME belongs to another account",
        ),
        (
            "GET",
            Trouble::error(301, "PermanentRedirect"),
            "S3_REGION is not the region of the bucket or of the server (PermanentRedirect)",
        ),
        (
            "GET",
            Trouble::error(403, "RequestTimeTooSkewed"),
            "the clock of this machine differs too much from the clock of S3",
        ),
        (
            "GET",
            Trouble::error(503, "SlowDown"),
            "S3 could not list the bucket of S3_BUCKET_NAME (503 SlowDown)",
        ),
        ("GET", Trouble::page(200), not_s3),
        ("GET", Trouble::Answer { status: 200, body: "{}".to_owned() }, not_s3),
        (
            "GET",
            Trouble::page(404),
            "the server of S3_ENDPOINT_URL does not answer like S3 (status 404)",
        ),
    ];
    for (line, trouble, expected) in cases {
        let context = format!("{trouble:?}");
        proxy.inject(line, trouble, usize::MAX);
        assert_eq!(ensure(&options).await.unwrap_err().to_string(), expected, "{context}");
        proxy.clear();
    }
    drop(proxy);
    let error = ensure(&options).await.unwrap_err();
    assert_eq!(error.to_string(), "S3 cannot be reached");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(!cause.contains("127.0.0.1"), "no addresses: {cause}");
}
