//! The bucket itself: it is created when it is missing, and then gets its lifecycle rule.
//!
//! This uses `rust-s3`, because `object_store` has no operations on buckets.

use s3::bucket::Bucket;
use s3::creds::Credentials;
use s3::error::S3Error;
use s3::region::Region;
use s3::serde_types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, LifecycleFilter, LifecycleRule,
};

use super::failure::error_code;
use super::options::{OpenStoreError, S3Options};

/// After this many days a server removes the parts of an upload which was not completed.
const INCOMPLETE_UPLOAD_DAYS: i32 = 7;
const NO_RULE: &str = "NoSuchLifecycleConfiguration";

/// A bucket on S3, which may not exist yet.
pub struct S3Bucket {
    bucket: Box<Bucket>,
    name: String,
    region: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketState {
    Existed,
    /// It was missing and has been created.
    Created,
}

/// Why the bucket cannot be used. The texts contain neither secrets nor addresses.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The server does not know the access key, or the signature is wrong.
    #[error("S3 does not accept S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY ({code})")]
    WrongCredentials {
        /// The error code of S3.
        code: String,
    },
    /// The credentials are valid, but lack a permission.
    #[error("the S3 credentials do not permit Coredock to {action} the bucket of S3_BUCKET_NAME")]
    NotPermitted {
        /// `list` or `create`.
        action: &'static str,
    },
    #[error("the bucket of S3_BUCKET_NAME belongs to another account")]
    OwnedByAnother,
    /// The bucket or the server is in another region than `S3_REGION`.
    #[error("S3_REGION is not the region of the bucket or of the server ({code})")]
    WrongRegion {
        /// The error code of S3.
        code: String,
    },
    /// Signatures are valid for some minutes only.
    #[error("the clock of this machine differs too much from the clock of S3")]
    ClockDiffers,
    /// What answers at the endpoint does not speak S3.
    #[error("the server of S3_ENDPOINT_URL does not answer like S3{}", status_suffix(*status))]
    NotS3 {
        /// The status of the answer, if it is what was unexpected.
        status: Option<u16>,
    },
    /// The server speaks S3, but answered with another error.
    #[error("S3 could not {action} the bucket of S3_BUCKET_NAME ({status} {code})")]
    Failed {
        /// `list` or `create`.
        action: &'static str,
        status: u16,
        /// The error code of S3.
        code: String,
    },
    /// No connection or no answer.
    #[error("S3 cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn status_suffix(status: Option<u16>) -> String {
    status.map(|status| format!(" (status {status})")).unwrap_or_default()
}

impl S3Bucket {
    /// Opens no connection.
    pub fn new(options: &S3Options) -> Result<Self, OpenStoreError> {
        // The HTTP client of rust-s3 uses the provider of cryptography of the process. An error only
        // says that the process has one.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let wrong = |name, problem| OpenStoreError::Setting { name, problem };
        let address = options.address()?;
        let region =
            Region::Custom { region: options.region.clone(), endpoint: address.server.clone() };
        let (key, secret) = (&address.access_key_id, &address.secret_access_key);
        let Ok(credentials) = Credentials::new(Some(key), Some(secret), None, None, None) else {
            return Err(wrong("S3_ACCESS_KEY_ID", "cannot be used"));
        };
        let Ok(mut bucket) = Bucket::new(&options.bucket, region, credentials) else {
            return Err(wrong("S3_BUCKET_NAME", "cannot be used"));
        };
        bucket.set_request_timeout(Some(options.timeout));
        if address.path_style {
            bucket.set_path_style();
        }
        Ok(Self { bucket, name: options.bucket.clone(), region: options.region.clone() })
    }

    /// Creates the bucket when the server says that it is missing, with a lifecycle rule which
    /// removes incomplete multipart uploads. An existing bucket is not changed (contract §5.6).
    pub async fn ensure(&self) -> Result<BucketState, BucketError> {
        match self.list_one().await {
            Ok(()) => {
                self.recommend_rule().await;
                return Ok(BucketState::Existed);
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(explain("list", error)),
        }
        let state = self.create().await?;
        if state == BucketState::Created {
            tracing::info!(bucket = self.name, "bucket {} was created", self.name);
            self.set_rule().await;
        }
        Ok(state)
    }

    /// Needs the same permission as `HeadBucket`, whose answers have no body with an error code.
    async fn list_one(&self) -> Result<(), S3Error> {
        let prefix = "coredock/owner".to_owned();
        self.bucket.list_page(prefix, None, None, None, Some(1)).await.map(drop)
    }

    /// Sends a plain `PUT`, because `rust-s3` would name the region `us-east-1` to servers other
    /// than AWS, which they refuse.
    async fn create(&self) -> Result<BucketState, BucketError> {
        let constraint = format!(
            "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint>\
             </CreateBucketConfiguration>",
            self.region
        );
        let body = if self.region == "us-east-1" { "" } else { &constraint };
        let created = self.bucket.put_object_with_content_type("/", body.as_bytes(), "text/xml");
        match created.await {
            Ok(_) => Ok(BucketState::Created),
            // Another replica may have created it: 409, or 500 when both requests run at once.
            Err(_) if self.list_one().await.is_ok() => Ok(BucketState::Existed),
            Err(error) => Err(explain("create", error)),
        }
    }

    async fn set_rule(&self) {
        let everything = LifecycleFilter { prefix: Some(String::new()), ..Default::default() };
        let days = AbortIncompleteMultipartUpload::new(Some(INCOMPLETE_UPLOAD_DAYS));
        let rule = LifecycleRule::builder("Enabled")
            .id("abort-dead-uploads")
            .filter(everything)
            .abort_incomplete_multipart_upload(days)
            .build();
        let rules = BucketLifecycleConfiguration::new(vec![rule]);
        if let Err(error) = self.bucket.put_bucket_lifecycle(rules).await {
            let reason = brief(&error);
            let bucket = &self.name;
            tracing::warn!(
                bucket,
                reason,
                "could not set a lifecycle rule of bucket {bucket} that aborts incomplete \
                 multipart uploads; set one if the S3 server supports such rules"
            );
        }
    }

    async fn recommend_rule(&self) {
        let missing = match self.bucket.get_bucket_lifecycle().await {
            Ok(lifecycle) => !lifecycle.rules.iter().any(|rule| {
                rule.status == "Enabled" && rule.abort_incomplete_multipart_upload.is_some()
            }),
            Err(error) if has_code(&error, NO_RULE) => true,
            Err(error) => {
                let reason = brief(&error);
                let bucket = &self.name;
                tracing::debug!(
                    bucket,
                    reason,
                    "lifecycle rules of bucket {bucket} could not be read: {reason}"
                );
                false
            }
        };
        if missing {
            let bucket = &self.name;
            tracing::warn!(
                bucket,
                "bucket {bucket} has no lifecycle rule that aborts incomplete multipart uploads; set one"
            );
        }
    }
}

fn is_missing(error: &S3Error) -> bool {
    matches!(error, S3Error::HttpFailWithBody(404, _)) && has_code(error, "NoSuchBucket")
}

fn has_code(error: &S3Error, wanted: &str) -> bool {
    matches!(error, S3Error::HttpFailWithBody(_, body) if error_code(body).as_deref() == Some(wanted))
}

/// Status and code only: the body of an answer does not belong in a log.
fn brief(error: &S3Error) -> String {
    match error {
        S3Error::HttpFailWithBody(status, body) => {
            format!("{status} {}", error_code(body).unwrap_or_default())
        }
        S3Error::Reqwest(_) => "no answer".to_owned(),
        _ => "the answer could not be parsed".to_owned(),
    }
}

fn explain(action: &'static str, error: S3Error) -> BucketError {
    let (status, code) = match error {
        S3Error::HttpFailWithBody(status, body) => match error_code(&body) {
            Some(code) => (status, code),
            None => return BucketError::NotS3 { status: Some(status) },
        },
        S3Error::Reqwest(error) => {
            return BucketError::Unreachable(Box::new(error.without_url()));
        }
        S3Error::Io(error) => return BucketError::Unreachable(Box::new(error)),
        _ => return BucketError::NotS3 { status: None },
    };
    match code.as_str() {
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity" | "NotSignedUp" => {
            BucketError::WrongCredentials { code }
        }
        "RequestTimeTooSkewed" => BucketError::ClockDiffers,
        "BucketAlreadyExists" => BucketError::OwnedByAnother,
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidLocationConstraint"
        | "InvalidRegion" => BucketError::WrongRegion { code },
        _ if status == 403 => BucketError::NotPermitted { action },
        _ => BucketError::Failed { action, status, code },
    }
}
