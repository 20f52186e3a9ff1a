//! The bytes of an opened object, in small pieces and never silently short.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::blocking;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::GetResultPayload;
use tokio::task::spawn_blocking;

use crate::store::Fault;

const PIECE: u64 = 64 << 10;

/// The bytes `range` of the object, which are what `payload` delivers or lies in.
pub(crate) fn pieces(
    payload: GetResultPayload,
    range: Range<u64>,
    key: String,
) -> BoxStream<'static, Result<Bytes, ArtifactStoreError>> {
    let pieces = match payload {
        GetResultPayload::File(file, _) => return pieces_of_file(file, range, key),
        GetResultPayload::Stream(source) => {
            let source = source.map_err(Fault::from).boxed();
            let slices = Slices { source, pending: Bytes::new(), rest: range.end - range.start };
            stream::try_unfold(slices, Slices::next).boxed()
        }
    };
    pieces.map_err(move |source| ArtifactStoreError::unavailable("read", &key, source)).boxed()
}

/// The same, of a file.
pub(crate) fn pieces_of_file(
    file: File,
    range: Range<u64>,
    key: String,
) -> BoxStream<'static, Result<Bytes, ArtifactStoreError>> {
    let pieces = stream::try_unfold((file, range), |(file, rest)| next_of_file(file, rest));
    pieces.map_err(move |source| ArtifactStoreError::unavailable("read", &key, source)).boxed()
}

/// Reads by position from the file that was opened: one that replaces it is not seen.
async fn next_of_file(
    file: File,
    rest: Range<u64>,
) -> Result<Option<(Bytes, (File, Range<u64>))>, Fault> {
    if rest.is_empty() {
        return Ok(None);
    }
    let end = rest.end.min(rest.start + PIECE);
    let read = move || -> io::Result<_> {
        let mut piece = vec![0; usize::try_from(end - rest.start).unwrap_or_default()];
        file.read_exact_at(&mut piece, rest.start)?;
        Ok((Bytes::from(piece), (file, end..rest.end)))
    };
    let piece = if blocking::is_allowed() { read() } else { spawn_blocking(read).await? };
    Ok(Some(piece?))
}

struct Slices {
    source: BoxStream<'static, Result<Bytes, Fault>>,
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

    fn stream_of(lengths: &[usize]) -> GetResultPayload {
        let chunks: Vec<_> = lengths.iter().map(|length| Ok(vec![1; *length].into())).collect();
        GetResultPayload::Stream(stream::iter(chunks).boxed())
    }

    #[tokio::test]
    async fn a_stream_is_cut_into_pieces_of_64_kib() {
        let payload = stream_of(&[150_000, 0, 10]);
        let pieces: Vec<_> =
            pieces(payload, 0..150_010, String::new()).try_collect().await.unwrap();
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [65_536, 65_536, 18_928, 10]);
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_an_error() {
        let mut pieces = pieces(stream_of(&[3]), 0..4, "key".to_owned());
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 3);
        let error = pieces.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "artifact store could not read key");
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100_000).unwrap();
        let payload = GetResultPayload::File(file.try_clone().unwrap(), "".into());
        let mut pieces = pieces(payload, 0..100_000, String::new());
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 65_536);
        file.set_len(70_000).unwrap();
        assert!(pieces.next().await.unwrap().is_err());
    }
}
