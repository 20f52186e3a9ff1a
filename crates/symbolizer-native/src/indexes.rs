//! What is known of builds: their indexes, or why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coredock_domain::coredumps::coredump::ParseErrorCode;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::symbolication::indexes::StoredIndexes;
use coredock_domain::symbolication::symbolizer::{ElfSource, SymbolizerError};
use coredock_symbolizer::{INDEX_FORMAT, Index};
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use crate::indexer::{Indexed, Indexer};

/// Indexes kept in memory, in bytes: those of some dozens of builds.
const KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// What it takes to remember that there is none, about, in bytes.
const UNREADABLE_BYTES: u32 = 1024;

/// Where the index of an attempt came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexSource {
    /// It was in memory.
    Kept,
    /// It was in the store.
    Loaded,
    /// It was built now.
    Built,
    /// There is none: the ELF cannot be read.
    Unreadable,
    /// There is none: it could not be built.
    Failed,
}

/// Indexes by the digest of their ELF, the least recently used ones forgotten first.
pub(crate) struct Indexes {
    stored: StoredIndexes,
    indexer: Indexer,
    kept: Cache<Sha256Digest, Indexed>,
    observe: Arc<dyn Fn(IndexSource) + Send + Sync>,
}

impl Indexes {
    pub(crate) fn new(
        stored: StoredIndexes,
        indexer: Indexer,
        observe: Arc<dyn Fn(IndexSource) + Send + Sync>,
    ) -> Self {
        let kept = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, indexed: &Indexed| match indexed {
                Indexed::Open(index) => u32::try_from(index.bytes().len()).unwrap_or(u32::MAX),
                Indexed::Unreadable(_) => UNREADABLE_BYTES,
            })
            .max_capacity(KEPT_BYTES)
            .build();
        Self { stored, indexer, kept, observe }
    }

    /// The index of an ELF: the stored one, if there is any. Jobs of one build wait for the one that
    /// has it loaded or made; when that one is dropped, the next has.
    pub(crate) async fn of(&self, elf: &dyn ElfSource) -> Result<Index, SymbolizerError> {
        let asked = AtomicBool::new(false);
        let sha256 = elf.sha256();
        let make = async {
            asked.store(true, Ordering::Relaxed);
            if let Some(index) = self.load(sha256).await? {
                (self.observe)(IndexSource::Loaded);
                return Ok(Indexed::Open(index));
            }
            let made = self.indexer.index(elf.open().await?).await;
            (self.observe)(match &made {
                Ok(Indexed::Open(_)) => IndexSource::Built,
                Ok(Indexed::Unreadable(_)) => IndexSource::Unreadable,
                Err(_) => IndexSource::Failed,
            });
            made
        };
        let indexed = self.kept.try_get_with(sha256, make).await.map_err(unshared)?;
        if !asked.into_inner() {
            (self.observe)(IndexSource::Kept);
        }
        match indexed {
            Indexed::Open(index) => Ok(index),
            Indexed::Unreadable(reason) => Err(SymbolizerError::Rejected {
                code: ParseErrorCode::ElfUnreadable,
                reason: reason.to_string(),
            }),
        }
    }

    /// The stored index, if it is one of this ELF.
    async fn load(&self, elf_sha256: Sha256Digest) -> Result<Option<Index>, SymbolizerError> {
        let Some(bytes) = self.stored.load(elf_sha256, INDEX_FORMAT).await? else {
            return Ok(None);
        };
        let index = Index::open(bytes).ok();
        Ok(index.filter(|index| index.elf_sha256() == elf_sha256))
    }
}

/// The error of whoever made the index, for one of those that waited.
fn unshared(error: Arc<SymbolizerError>) -> SymbolizerError {
    Arc::try_unwrap(error).unwrap_or_else(|shared| match &*shared {
        SymbolizerError::Rejected { code, reason } => {
            SymbolizerError::Rejected { code: *code, reason: reason.clone() }
        }
        SymbolizerError::Failed { reason, .. } => {
            SymbolizerError::Failed { reason: reason.clone(), source: Some(Box::new(shared)) }
        }
        SymbolizerError::ElfMissing => SymbolizerError::ElfMissing,
        SymbolizerError::Unavailable { .. } => {
            SymbolizerError::Unavailable { source: Box::new(shared) }
        }
    })
}
