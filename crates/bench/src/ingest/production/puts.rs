//! The rate of PUTs of an S3 server, sent by an S3 client alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, PutOptions, PutPayload};
use tokio::task::JoinSet;

use super::super::burst::body;
use super::super::{BODY, CONCURRENCY};
use crate::report::per_second;

/// Headers of a PUT besides its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// Those which Coredock sends: a checksum, a content type and the digest as metadata.
    OfCoredock,
    None,
}

/// Signed PUTs per second, 16 at once.
pub(super) fn rate(
    settings: &[(&str, String)],
    headers: Headers,
    duration: Duration,
) -> Result<f64> {
    let mut builder = AmazonS3Builder::new().with_allow_http(true).with_region("us-east-1");
    for (name, value) in settings {
        builder = builder.with_config(key(name)?, value);
    }
    if headers == Headers::OfCoredock {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    let store = Arc::new(builder.build()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut writers, began) = (JoinSet::new(), Instant::now());
        for writer in 0..CONCURRENCY {
            writers.spawn(write(Arc::clone(&store), writer, headers, began + duration));
        }
        let mut written = 0;
        while let Some(count) = writers.join_next().await {
            written += count??;
        }
        per_second(written, began.elapsed())
    })
}

/// The option of the S3 client for a setting of Coredock.
fn key(setting: &str) -> Result<AmazonS3ConfigKey> {
    let name = match setting {
        "S3_ENDPOINT_URL" => "endpoint",
        "S3_ACCESS_KEY_ID" => "access_key_id",
        "S3_SECRET_ACCESS_KEY" => "secret_access_key",
        "S3_BUCKET_NAME" => "bucket",
        other => other,
    };
    Ok(name.parse()?)
}

async fn write(
    store: Arc<AmazonS3>,
    writer: usize,
    headers: Headers,
    until: Instant,
) -> Result<usize> {
    let mut written = 0;
    while Instant::now() < until {
        let path = Path::from(format!("{writer}/{written}"));
        let payload = PutPayload::from(body(written, BODY));
        let attributes = match headers {
            Headers::OfCoredock => Attributes::from_iter([
                (Attribute::ContentType, "application/octet-stream".to_owned()),
                (Attribute::Metadata("sha256".into()), format!("{written:064x}")),
            ]),
            Headers::None => Attributes::default(),
        };
        let options = PutOptions { attributes, ..PutOptions::default() };
        store.put_opts(&path, payload, options).await?;
        written += 1;
    }
    Ok(written)
}
