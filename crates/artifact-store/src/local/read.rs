//! Reading objects.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::Bytes;
use coredock_domain::artifacts::store::StoredArtifact;
use futures::stream::{self, Stream};

use super::directory::{Directory, unless_absent};
use super::threads::Threads;

const PIECE: u64 = 64 << 10;

impl Directory {
    /// `None` when the object does not exist.
    pub(super) fn open_object(&self, object: &Path) -> io::Result<Option<(File, StoredArtifact)>> {
        let Some(file) = unless_absent(File::open(object))? else {
            self.check_present()?;
            return Ok(None);
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(None);
        }
        let stored = describe(&metadata);
        Ok(Some((file, stored)))
    }
}

/// The identity is that of the file and changes with the bytes:
/// - A file is not written again once it has the name of an object, so one file has one content.
/// - A replacement is another file. While both exist their inode numbers differ. A number that was
///   freed may return with a later file, which has a later time of writing: writers set that time
///   in nanoseconds, because the kernel's own advances only every few milliseconds.
///
/// Only a clock that was set back to the same nanosecond, for the same inode and size, could repeat
/// an identity. Identities are compared within a process and never stored.
pub(super) fn describe(metadata: &Metadata) -> StoredArtifact {
    let size = metadata.len();
    let (inode, seconds, nanoseconds) = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
    let identity = format!("{inode:x}-{seconds:x}.{nanoseconds:x}-{size:x}");
    StoredArtifact { size, identity, sha256: None }
}

/// The bytes of `range`. An error when the file ends before the range does.
pub(super) fn pieces(
    file: File,
    range: Range<u64>,
    threads: Threads,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, range), move |(file, rest)| async move {
        if rest.is_empty() {
            return Ok(None);
        }
        let piece = threads.run(move || {
            let end = rest.end.min(rest.start + PIECE);
            let mut piece = vec![0; usize::try_from(end - rest.start).unwrap_or_default()];
            file.read_exact_at(&mut piece, rest.start)?;
            Ok((Bytes::from(piece), (file, end..rest.end)))
        });
        piece.await.map(Some)
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        for threads in [Threads::BlockingPool, Threads::Caller] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(100_000).unwrap();
            let mut pieces = pin!(pieces(file.try_clone().unwrap(), 0..100_000, threads));
            assert_eq!(pieces.try_next().await.unwrap().unwrap().len(), 65_536);
            file.set_len(70_000).unwrap();
            assert!(pieces.try_next().await.is_err());
        }
    }
}
