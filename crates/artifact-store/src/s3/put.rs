//! Writing objects: whole or not at all, checked before and after.

use std::io::Read;

use bytes::Bytes;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::spooled_file::{SpoolReader, SpooledFile};
use coredock_domain::artifacts::store::StoredArtifact;
use coredock_domain::digest::{RunningSha256, Sha256Digest};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use tokio::task::spawn_blocking;

use super::{Fault, S3ArtifactStore, attributes, identity};

/// Files up to this length are sent in one request, larger ones in parts of this length. At most
/// two parts are in memory; S3 requires at least 5 MiB.
const PART_SIZE: usize = 8 << 20;

type Parts = BoxStream<'static, Result<Bytes, Fault>>;

impl S3ArtifactStore {
    /// When it returns, the bucket has confirmed an object of the length of `body`.
    pub(super) async fn write(
        &self,
        object: &Path,
        body: &ArtifactBody,
    ) -> Result<StoredArtifact, Fault> {
        let sha256 = body.sha256();
        let attributes = attributes(sha256);
        let (parts, whole) = match body {
            ArtifactBody::Bytes(body) => (stream::iter([Ok(body.bytes().clone())]).boxed(), true),
            ArtifactBody::File(file) => (checked_parts(file), file.length() <= PART_SIZE as u64),
        };
        let written = if whole {
            let payload: PutPayload = parts.try_collect::<Vec<_>>().await?.into_iter().collect();
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.objects.put_opts(object, payload, options).await?
        } else {
            self.write_parts(object, attributes, parts).await?
        };
        let identity = self.confirm(object, written, body.length()).await?;
        Ok(StoredArtifact { size: body.length(), identity, sha256: Some(sha256) })
    }

    async fn write_parts(
        &self,
        object: &Path,
        attributes: Attributes,
        parts: Parts,
    ) -> Result<PutResult, Fault> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.objects.put_multipart_opts(object, options).await?;
        let failure = match send(upload.as_mut(), parts).await {
            Ok(written) => return Ok(written),
            Err(failure) => failure,
        };
        if let Err(error) = upload.abort().await {
            tracing::warn!(%object, %error, "parts of the failed upload of {object} were not removed: {error}");
        }
        Err(failure)
    }

    /// The identity of the written object, once the bucket reports it with the right length.
    async fn confirm(
        &self,
        object: &Path,
        written: PutResult,
        length: u64,
    ) -> Result<String, Fault> {
        let found = self.objects.head(object).await?;
        match (written.e_tag, &found.e_tag) {
            // Another write has replaced it: the length found is that of another object.
            (Some(sent), Some(current)) if sent != *current => Ok(sent),
            _ if found.size == length => Ok(identity(&found)),
            _ => Err(format!("sent {length} bytes, the bucket reports {}", found.size).into()),
        }
    }
}

/// One part at a time, so that memory is bounded. An error among the parts prevents the completion.
async fn send(upload: &mut dyn MultipartUpload, mut parts: Parts) -> Result<PutResult, Fault> {
    while let Some(part) = parts.try_next().await? {
        upload.put_part(part.into()).await?;
    }
    Ok(upload.complete().await?)
}

fn checked_parts(file: &SpooledFile) -> Parts {
    let spool = Spool {
        reader: file.reader(),
        hash: RunningSha256::default(),
        rest: file.length(),
        sha256: file.sha256(),
        part_size: PART_SIZE,
    };
    let next = |spool: Spool| async { spawn_blocking(|| spool.next_part()).await? };
    stream::try_unfold(spool, next).boxed()
}

/// A spooled file that is being sent.
struct Spool {
    reader: SpoolReader,
    hash: RunningSha256,
    rest: u64,
    sha256: Sha256Digest,
    part_size: usize,
}

impl Spool {
    /// `None` only if all bytes read had the right digest.
    fn next_part(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        if self.rest == 0 {
            let (_, sha256) = self.hash.finish();
            if sha256 == self.sha256 {
                return Ok(None);
            }
            let expected = self.sha256;
            let found = format!("expected spooled bytes of SHA-256 {expected}, found {sha256}");
            return Err(found.into());
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
}
