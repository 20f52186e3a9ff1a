//! The cache of indexes: per build its index, or the reason why it has none.

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

/// Indexes of some dozens of builds.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// The approximate size of an entry without an index.
const NEGATIVE_ENTRY_BYTES: u32 = 1024;

/// How an attempt to get the index of an ELF ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexOutcome {
    /// The index was in the memory of this process.
    Cached,
    /// The index was read from the store.
    Loaded,
    /// The index was built from the ELF.
    Built,
    /// There is no index, because the ELF cannot be indexed.
    Unreadable,
    /// There is no index, because this attempt failed; another may succeed.
    Failed,
}

/// Indexes by the digest of their ELF; the least recently used ones are evicted first.
pub(crate) struct Indexes {
    stored: StoredIndexes,
    indexer: Indexer,
    cache: Cache<Sha256Digest, Indexed>,
    observe: Arc<dyn Fn(IndexOutcome) + Send + Sync>,
}

impl Indexes {
    pub(crate) fn new(
        stored: StoredIndexes,
        indexer: Indexer,
        observe: Arc<dyn Fn(IndexOutcome) + Send + Sync>,
    ) -> Self {
        let cache = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, indexed: &Indexed| match indexed {
                Indexed::Usable(index) => u32::try_from(index.bytes().len()).unwrap_or(u32::MAX),
                Indexed::Unreadable(_) => NEGATIVE_ENTRY_BYTES,
            })
            .max_capacity(CACHE_BYTES)
            .build();
        Self { stored, indexer, cache, observe }
    }

    /// The stored index of an ELF, otherwise a new one. Jobs of one build wait for the first of
    /// them; when it is dropped, the next one continues.
    pub(crate) async fn get(&self, elf: &dyn ElfSource) -> Result<Index, SymbolizerError> {
        let missed = AtomicBool::new(false);
        let sha256 = elf.sha256();
        let get = async {
            missed.store(true, Ordering::Relaxed);
            if let Some(index) = self.load(sha256).await? {
                (self.observe)(IndexOutcome::Loaded);
                return Ok(Indexed::Usable(index));
            }
            let built = self.indexer.index(elf.open().await?).await;
            (self.observe)(match &built {
                Ok(Indexed::Usable(_)) => IndexOutcome::Built,
                Ok(Indexed::Unreadable(_)) => IndexOutcome::Unreadable,
                Err(_) => IndexOutcome::Failed,
            });
            built
        };
        let indexed = self.cache.try_get_with(sha256, get).await.map_err(of_shared)?;
        if !missed.into_inner() {
            (self.observe)(IndexOutcome::Cached);
        }
        match indexed {
            Indexed::Usable(index) => Ok(index),
            Indexed::Unreadable(reason) => Err(SymbolizerError::Rejected {
                code: ParseErrorCode::ElfUnreadable,
                reason: reason.to_string(),
            }),
        }
    }

    /// The stored index, if it belongs to this ELF.
    async fn load(&self, elf_sha256: Sha256Digest) -> Result<Option<Index>, SymbolizerError> {
        let Some(bytes) = self.stored.load(elf_sha256, INDEX_FORMAT).await? else {
            return Ok(None);
        };
        let index = Index::open(bytes).ok();
        Ok(index.filter(|index| index.elf_sha256() == elf_sha256))
    }
}

/// The error of the job that built the index, for a job that waited for it.
fn of_shared(error: Arc<SymbolizerError>) -> SymbolizerError {
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
