//! Writing: whole objects or nothing, checked before and after.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::spooled_file::{SpoolReader, SpooledFile};
use coredock_domain::artifacts::store::{ArtifactStoreError, ByteRange, StoredArtifact};
use coredock_domain::digest::{RunningSha256, Sha256Digest};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::store::{Fault, ObjectArtifactStore, attributes, identity, path};

type Parts = BoxStream<'static, Result<Bytes, Fault>>;

impl ObjectArtifactStore {
    /// Writes `body` to `object`; durable and as long as it should be when it returns.
    pub(crate) async fn write(
        &self,
        object: &Path,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, Fault> {
        if let (Some(directory), ArtifactBody::Bytes(body)) = (&self.directory, body) {
            return directory.write_whole(object, body.bytes().clone()).await;
        }
        self.prepare(object).await?;
        let sha256 = self.features.metadata.then(|| body.sha256());
        let attributes = sha256.map(attributes).unwrap_or_default();
        let (parts, whole) = match body {
            ArtifactBody::Bytes(body) => (stream::iter([Ok(body.bytes().clone())]).boxed(), true),
            ArtifactBody::File(file) => {
                let part_size = self.features.part_size;
                (checked_parts(file, part_size), file.length() <= part_size as u64)
            }
        };
        let written = if whole {
            let payload: PutPayload = parts.try_collect::<Vec<_>>().await?.into_iter().collect();
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.objects.put_opts(object, payload, options).await?
        } else {
            self.write_parts(object, attributes, parts).await?
        };
        let identity = self.confirm(object, written, body.length()).await?;
        Ok(StoredArtifact { size: body.length(), identity, sha256 })
    }

    /// Copies by reading and writing. `object_store` copies local files by hard link, then both
    /// names are one object: same identity and time of writing, the copy of a copy onto itself
    /// leaves a stray link (a rename between two links of one file does nothing), and not every
    /// file system has them.
    pub(crate) async fn rewrite(
        &self,
        from: &ArtifactKey,
        to: &ArtifactKey,
    ) -> Result<(), ArtifactStoreError> {
        let object = path("copy", to)?;
        let Some(source) = self.open(from, ByteRange::Full).await? else {
            return Err(ArtifactStoreError::NotFound { key: from.to_string() });
        };
        let copy = async {
            self.prepare(&object).await?;
            let parts = source.body.map_err(Fault::from).boxed();
            let written = self.write_parts(&object, Attributes::new(), parts).await?;
            self.confirm(&object, written, source.stored.size).await
        };
        match copy.await {
            Ok(_) => Ok(()),
            Err(source) => Err(ArtifactStoreError::unavailable("copy", to, source)),
        }
    }

    async fn prepare(&self, object: &Path) -> Result<(), Fault> {
        match &self.directory {
            Some(directory) => directory.prepare(object).await,
            None => Ok(()),
        }
    }

    async fn write_parts(
        &self,
        object: &Path,
        attributes: Attributes,
        parts: Parts,
    ) -> Result<PutResult, Fault> {
        let mut upload = self.begin_upload(object, attributes).await?;
        let failure = match send(upload.as_mut(), parts).await {
            Ok(written) => return Ok(written),
            Err(failure) => failure,
        };
        if let Err(error) = upload.abort().await {
            tracing::warn!(%object, %error, "a failed upload left its parts behind");
        }
        Err(failure)
    }

    async fn begin_upload(
        &self,
        object: &Path,
        attributes: Attributes,
    ) -> Result<Box<dyn MultipartUpload>, Fault> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        if self.directory.is_none() {
            return Ok(self.objects.put_multipart_opts(object, options).await?);
        }
        // For a local directory this very call opens the file on the calling thread.
        let objects = Arc::clone(&self.objects);
        let object = object.clone();
        let runtime = Handle::current();
        let begin =
            move || runtime.block_on(async { objects.put_multipart_opts(&object, options).await });
        Ok(spawn_blocking(begin).await??)
    }

    /// The identity of what was `written`, once the store shows it with the right length.
    async fn confirm(
        &self,
        object: &Path,
        written: PutResult,
        length: u64,
    ) -> Result<String, Fault> {
        let found = self.objects.head(object).await?;
        match (written.e_tag, &found.e_tag) {
            // Somebody has replaced it since; the length found says nothing of ours.
            (Some(ours), Some(theirs)) if ours != *theirs => Ok(ours),
            _ if found.size == length => Ok(identity(&found)),
            _ => Err(format!("stored {} bytes instead of {length}", found.size).into()),
        }
    }
}

/// One part at a time, so that memory is bounded. An error among the parts comes before completion.
async fn send(upload: &mut dyn MultipartUpload, mut parts: Parts) -> Result<PutResult, Fault> {
    while let Some(part) = parts.try_next().await? {
        upload.put_part(part.into()).await?;
    }
    Ok(upload.complete().await?)
}

fn checked_parts(file: &SpooledFile, part_size: usize) -> Parts {
    let spool = Spool {
        reader: file.reader(),
        hash: RunningSha256::default(),
        rest: file.length(),
        sha256: file.sha256(),
        part_size,
    };
    let next = |spool: Spool| async { spawn_blocking(|| spool.next_part()).await? };
    stream::try_unfold(spool, next).boxed()
}

const WRONG_DIGEST: &str = "bytes to store do not have the SHA-256 they should";

/// A spooled file on its way into the store.
struct Spool {
    reader: SpoolReader,
    hash: RunningSha256,
    rest: u64,
    sha256: Sha256Digest,
    part_size: usize,
}

impl Spool {
    /// The end is only reached if everything read had the right digest.
    fn next_part(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        if self.rest == 0 {
            let (_, sha256) = self.hash.finish();
            return if sha256 == self.sha256 { Ok(None) } else { Err(WRONG_DIGEST.into()) };
        }
        let length = self.rest.min(self.part_size as u64);
        let mut part = vec![0; usize::try_from(length)?];
        self.reader.read_exact(&mut part)?;
        self.hash.update(&part);
        self.rest -= length;
        Ok(Some((Bytes::from(part), self)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use coredock_domain::artifacts::spooled_file::SpoolDirectory;

    use super::*;

    fn spooled(bytes: &[u8]) -> SpooledFile {
        let mut writer = SpoolDirectory::new(std::env::temp_dir()).create().unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish()
    }

    #[tokio::test]
    async fn spooled_bytes_of_another_digest_end_in_an_error() {
        let file = spooled(b"0123456789");
        let sha256 = Sha256Digest::of(b"something else");
        let hash = RunningSha256::default();
        let spool = Spool { reader: file.reader(), hash, rest: 10, sha256, part_size: 6 };
        let (first, spool) = spool.next_part().unwrap().unwrap();
        assert_eq!(first, "012345");
        let (second, spool) = spool.next_part().unwrap().unwrap();
        assert_eq!(second, "6789");
        assert!(spool.next_part().is_err());
    }

    #[tokio::test]
    async fn a_failed_upload_leaves_neither_object_nor_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = ObjectArtifactStore::local(directory.path()).unwrap();
        let object = Path::parse("firmware/demo/1.0/firmware.bin").unwrap();
        store.prepare(&object).await.unwrap();
        let parts = vec![Ok(Bytes::from_static(b"abc")), Err(Fault::from("spool broke"))];
        let failed =
            store.write_parts(&object, Attributes::new(), stream::iter(parts).boxed()).await;
        assert_eq!(failed.unwrap_err().to_string(), "spool broke");
        let below = directory.path().join("firmware/demo/1.0");
        assert_eq!(std::fs::read_dir(below).unwrap().count(), 0);
    }
}
