//! The suite which every [`ArtifactStore`] must pass: [`artifact_store_contract`].

mod content;
mod keys;
mod replacing;

use std::io::Write;

use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::artifacts::store::{ByteRange, ListedObject, StoredArtifact, read_all};
use futures::TryStreamExt;

pub use keys::{FOREIGN_PATH, lists_foreign_objects};

/// Properties in which correct backends may differ.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// Objects carry their SHA-256.
    pub metadata: bool,
    /// A body that was opened before its object was replaced or deleted keeps its bytes to the end.
    pub stable_readers: bool,
    /// Concurrent writers of one key do not mix: the final object is that of one writer, and each
    /// writer gets the description of its object. Coredock does not write so (contract §5.7).
    pub separate_writers: bool,
}

/// Runs every case on `store`, which is empty or has none of the keys used here (model `contract`,
/// device `contract`). Panics on the first violation.
pub async fn artifact_store_contract(store: &dyn ArtifactStore, backend: Backend) {
    content::bytes_are_read_back(store, backend).await;
    content::spooled_files_are_read_back(store, backend).await;
    content::ranges_are_cut_at_the_end(store).await;
    replacing::replacing_changes_the_identity(store).await;
    if backend.separate_writers {
        replacing::writers_of_one_key_leave_one_whole_value(store).await;
    }
    replacing::copies_are_independent_of_their_source(store, backend).await;
    replacing::copying_an_absent_object_changes_nothing(store).await;
    if backend.stable_readers {
        replacing::open_bodies_survive_replacement_and_deletion(store).await;
        replacing::readers_never_see_a_mixture(store).await;
    }
    keys::absent_objects_are_none(store).await;
    keys::absent_keys_can_be_deleted(store).await;
    keys::prefixes_are_listed_apart(store).await;
    keys::thousands_of_objects_are_listed_and_deleted(store).await;
    keys::every_version_text_is_a_key(store).await;
}

fn key(path: &str) -> ArtifactKey {
    path.parse().expect("the path is that of a key")
}

/// Bytes that differ from place to place and by `seed`.
fn pattern(seed: u8, length: usize) -> Bytes {
    let byte =
        |index: usize| seed ^ (index % 251).to_le_bytes()[0] ^ (index >> 16).to_le_bytes()[0];
    (0..length).map(byte).collect()
}

fn spooled(bytes: &[u8]) -> SpooledFile {
    let directory = SpoolDirectory::new(std::env::temp_dir());
    let mut writer = directory.create().expect("the temporary directory is writable");
    writer.write_all(bytes).expect("the temporary directory has room");
    writer.finish()
}

async fn put(
    store: &dyn ArtifactStore,
    key: &ArtifactKey,
    body: impl Into<ArtifactBody>,
) -> StoredArtifact {
    store.put(key, &body.into()).await.expect("the object is stored")
}

/// The whole object; it must be there.
async fn content(store: &dyn ArtifactStore, key: &ArtifactKey) -> Bytes {
    let content = read_all(store, key, u64::MAX).await.expect("the object is readable");
    content.expect("the object is there")
}

async fn identity(store: &dyn ArtifactStore, key: &ArtifactKey) -> String {
    let opened = store.open(key, ByteRange::Full).await.expect("the object is readable");
    opened.expect("the object is there").stored.identity
}

async fn is_absent(store: &dyn ArtifactStore, key: &ArtifactKey) -> bool {
    store.open(key, ByteRange::Full).await.expect("absence is not an error").is_none()
}

async fn list(store: &dyn ArtifactStore, prefix: ArtifactPrefix) -> Vec<ListedObject> {
    store.list(prefix).try_collect().await.expect("the prefix is listed")
}
