//! Where bytes lie: [`coredock_domain::ArtifactStore`] over `object_store`.
//!
//! One adapter, [`ObjectArtifactStore`], serves a local directory and memory; what differs between
//! the stores underneath is told by [`StoreFeatures`]. For a local directory it adds what
//! `object_store` leaves open: every directory on the way to an object is durable, a copy is an
//! object of its own, and the leftovers of interrupted writes are removed
//! ([`ObjectArtifactStore::clean_leftovers`]).

mod body;
mod local;
mod store;
mod upload;
mod walk;
mod whole;

pub use local::OpenDirectoryError;
pub use store::{ObjectArtifactStore, StoreFeatures};
