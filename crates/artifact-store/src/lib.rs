//! Where bytes lie: [`coredock_domain::ArtifactStore`] over `object_store`.
//!
//! One adapter, [`ObjectArtifactStore`], serves S3, a local directory and memory; what differs
//! between the stores underneath is told by [`StoreFeatures`]. For a local directory it adds what
//! `object_store` leaves open: every directory on the way to an object is durable, a copy is an
//! object of its own, and the leftovers of interrupted writes are removed
//! ([`ObjectArtifactStore::clean_leftovers`]). For S3 it decides what an answer means and how long
//! to wait for it, and lists whatever keys there are. The bucket itself is made and looked at by
//! [`S3Bucket`].

mod body;
mod bucket;
mod delete;
mod local;
mod s3;
mod store;
mod upload;
mod walk;
mod whole;

pub use bucket::{BucketError, BucketState, S3Bucket};
pub use local::OpenDirectoryError;
pub use s3::{OpenStoreError, S3Options};
pub use store::{ObjectArtifactStore, StoreFeatures};
