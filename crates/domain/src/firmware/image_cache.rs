//! A cache of the images which devices download at present.
//!
//! Thousands of devices download the same 1–2 MB at once, each slowly, and most read only the first
//! KiB. Their transfers share one buffer: memory grows with the number of images, not of downloads.
//! The key of an entry is the SHA-256 of its content, so an entry is never stale.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use moka::future::Cache;

use crate::artifacts::verified_reads::ArtifactBytes;
use crate::digest::Sha256Digest;

/// Larger images are streamed from the store.
const MAX_IMAGE_BYTES: u64 = 8 * 1024 * 1024;
/// One piece of a transfer; small, because each open connection buffers about one.
const PIECE_BYTES: usize = 16 * 1024;

/// A bounded cache of whole images.
#[derive(Clone)]
pub struct ImageCache {
    images: Cache<Sha256Digest, Bytes>,
    capacity: u64,
}

impl ImageCache {
    /// `capacity` is in bytes.
    pub fn new(capacity: u64) -> Self {
        let weight =
            |_: &Sha256Digest, image: &Bytes| u32::try_from(image.len()).unwrap_or(u32::MAX);
        let images = Cache::builder().max_capacity(capacity).weigher(weight).build();
        Self { images, capacity }
    }

    /// Whether an image of `size` bytes is small enough for the cache.
    pub fn accepts(&self, size: u64) -> bool {
        size <= MAX_IMAGE_BYTES.min(self.capacity)
    }

    /// The image; concurrent calls for one image load it once.
    pub async fn get_or_load<E: Send + Sync + 'static>(
        &self,
        sha256: Sha256Digest,
        load: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<Bytes, Arc<E>> {
        self.images.try_get_with(sha256, load).await
    }
}

/// `range` of an image, in small pieces which share its memory.
pub fn pieces(image: &Bytes, range: Range<u64>) -> ArtifactBytes {
    let offset = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(image.len());
    let part = image.slice(offset(range.start)..offset(range.end));
    let split = move |mut left: Bytes| async move {
        if left.is_empty() {
            return None;
        }
        let piece = left.split_to(left.len().min(PIECE_BYTES));
        Some((Ok(piece), left))
    };
    futures::stream::unfold(part, split).boxed()
}
