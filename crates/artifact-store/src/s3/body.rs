//! The bytes of an opened object, in small pieces; a body that ends early is an error.

use std::io;

use bytes::Bytes;
use coredock_domain::artifacts::store::ArtifactStoreError;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::Fault;

const PIECE: u64 = 64 << 10;

/// The `length` bytes of the object `key` which `source` delivers. An error when it ends early.
pub(super) fn pieces(
    source: BoxStream<'static, object_store::Result<Bytes>>,
    length: u64,
    key: String,
) -> BoxStream<'static, Result<Bytes, ArtifactStoreError>> {
    let slices = Slices { source, pending: Bytes::new(), rest: length };
    stream::try_unfold(slices, Slices::next)
        .map_err(move |source| ArtifactStoreError::unavailable("read", &key, source))
        .boxed()
}

struct Slices {
    source: BoxStream<'static, object_store::Result<Bytes>>,
    /// Received, not yet passed on.
    pending: Bytes,
    /// How many bytes are still to be passed on.
    rest: u64,
}

impl Slices {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        if self.rest == 0 {
            return Ok(None);
        }
        while self.pending.is_empty() {
            let received = self.source.try_next().await?;
            self.pending = received.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        }
        let length = PIECE.min(self.rest).min(self.pending.len() as u64);
        let piece = self.pending.split_to(usize::try_from(length)?);
        self.rest -= length;
        Ok(Some((piece, self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(lengths: &[usize]) -> BoxStream<'static, object_store::Result<Bytes>> {
        let chunks: Vec<_> = lengths.iter().map(|length| Ok(vec![1; *length].into())).collect();
        stream::iter(chunks).boxed()
    }

    #[tokio::test]
    async fn a_stream_is_cut_into_pieces_of_64_kib() {
        let pieces: Vec<_> =
            pieces(source(&[150_000, 0, 10]), 150_010, String::new()).try_collect().await.unwrap();
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [65_536, 65_536, 18_928, 10]);
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_an_error() {
        let mut pieces = pieces(source(&[3]), 4, "key".to_owned());
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 3);
        let error = pieces.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "artifact store could not read key");
    }
}
