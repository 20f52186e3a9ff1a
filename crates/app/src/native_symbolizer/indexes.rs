//! What is known of builds: their indexes, or why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coredock_domain::coredump::ParseErrorCode;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::symbolizer::{ElfSource, SymbolizerError};
use coredock_symbolizer::Index;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::indexer::{Indexed, Indexer};
use crate::metrics::Metrics;

/// Indexes kept in memory, in bytes: those of some dozens of builds.
const KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// What it takes to remember that there is none, about, in bytes.
const UNREADABLE_BYTES: u32 = 1024;

/// Indexes by the digest of their ELF, the least recently used ones forgotten first.
pub(super) struct Indexes {
    indexer: Indexer,
    kept: Cache<Sha256Digest, Indexed>,
    metrics: Metrics,
}

impl Indexes {
    pub(super) fn new(indexer: Indexer, metrics: Metrics) -> Self {
        let kept = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, indexed: &Indexed| match indexed {
                Indexed::Open(open) => u32::try_from(open.bytes).unwrap_or(u32::MAX),
                Indexed::Unreadable(_) => UNREADABLE_BYTES,
            })
            .max_capacity(KEPT_BYTES)
            .build();
        Self { indexer, kept, metrics }
    }

    /// The index of an ELF. Jobs of one build wait for the one that makes it; when that one is
    /// dropped, the next makes it.
    pub(super) async fn of(&self, elf: &dyn ElfSource) -> Result<Index, SymbolizerError> {
        let asked = AtomicBool::new(false);
        let sha256 = elf.sha256();
        let make = async {
            asked.store(true, Ordering::Relaxed);
            let made = self.indexer.index(elf.open().await?).await;
            self.count(match &made {
                Ok(Indexed::Open(_)) => "built",
                Ok(Indexed::Unreadable(_)) => "unreadable",
                Err(_) => "failed",
            });
            made
        };
        let indexed = self.kept.try_get_with(sha256, make).await.map_err(unshared)?;
        if !asked.into_inner() {
            self.count("kept");
        }
        match indexed {
            Indexed::Open(open) => Ok(open.index.clone()),
            Indexed::Unreadable(reason) => Err(SymbolizerError::Rejected {
                code: ParseErrorCode::ElfUnreadable,
                reason: reason.to_string(),
            }),
        }
    }

    fn count(&self, result: &str) {
        self.metrics.symbol_indexes.with_label_values(&[result]).inc();
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
