//! Randomness which is equal in every run.

use std::sync::atomic::{AtomicU64, Ordering};

use coredock_domain::Entropy;
use sha2::{Digest, Sha256};

/// Hashes of a seed and a counter, so that each call gives different bytes.
#[derive(Debug, Default)]
pub struct SeededEntropy {
    seed: u64,
    blocks: AtomicU64,
}

impl SeededEntropy {
    /// Equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self { seed, blocks: AtomicU64::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let mut hasher = Sha256::new();
            hasher.update(self.seed.to_le_bytes());
            hasher.update(block.to_le_bytes());
            chunk.copy_from_slice(&hasher.finalize()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use coredock_domain::clock::random_id;

    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_without_repetition() {
        let (one, other) = (SeededEntropy::new(7), SeededEntropy::new(7));
        let ids = |entropy| [random_id(entropy), random_id(entropy)];
        let [first, second] = ids(&one);
        assert_ne!(first, second);
        assert_eq!(ids(&other), [first.clone(), second]);
        assert_ne!(random_id(&SeededEntropy::new(8)), first);
    }
}
