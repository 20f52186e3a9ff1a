//! The artifact store: implementations of the port [`coredock_domain::ArtifactStore`].
//!
//! [`LocalArtifactStore`] writes files below a directory, with `std::fs`. [`S3ArtifactStore`] uses
//! a bucket, through `object_store`; it decides what an answer means and how long to wait for it,
//! and lists keys which `object_store` would reject. [`S3Bucket`] creates and inspects the bucket.

use coredock_domain::artifacts::key::ArtifactKey;

mod local;
mod s3;

pub use local::{LocalArtifactStore, OpenDirectoryError};
pub use s3::{BucketError, BucketState, OpenStoreError, S3ArtifactStore, S3Bucket, S3Options};

/// The keys of a deletion, for an error text: stores do not report which of them failed.
fn describe_keys(keys: &[ArtifactKey]) -> String {
    match keys {
        [] => String::new(),
        [only] => only.to_string(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}
