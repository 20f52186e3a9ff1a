//! The bytes of an object to be stored.

use bytes::Bytes;

use crate::artifacts::spooled_file::SpooledFile;
use crate::digest::Sha256Digest;

/// The bytes of an object to be stored, of known length and hash.
#[derive(Debug, Clone)]
pub enum ArtifactBody {
    /// Small enough for memory.
    Bytes(HashedBytes),
    File(SpooledFile),
}

/// Bytes in memory with their digest. The fields are private, so that the digest is always right.
#[derive(Debug, Clone)]
pub struct HashedBytes {
    bytes: Bytes,
    sha256: Sha256Digest,
}

impl HashedBytes {
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl ArtifactBody {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(body) => body.bytes.len() as u64,
            Self::File(file) => file.length(),
        }
    }

    pub fn sha256(&self) -> Sha256Digest {
        match self {
            Self::Bytes(body) => body.sha256,
            Self::File(file) => file.sha256(),
        }
    }
}

impl From<Bytes> for ArtifactBody {
    fn from(bytes: Bytes) -> Self {
        let sha256 = Sha256Digest::of(&bytes);
        Self::Bytes(HashedBytes { bytes, sha256 })
    }
}

impl From<SpooledFile> for ArtifactBody {
    fn from(file: SpooledFile) -> Self {
        Self::File(file)
    }
}
