//! The port of the keys that outlive a restart (contract §3.3).

use async_trait::async_trait;

use crate::error::RepositoryError;
use crate::timestamp::Timestamp;

/// Keeps the last good key set of an identity provider, so that a restart while the provider is
/// away stops nobody. The sets are texts, which only the verifier understands.
#[async_trait]
pub trait SavedKeys: Send + Sync {
    /// The key set saved last for this issuer; `None` if none was saved.
    async fn load(&self, issuer: &str) -> Result<Option<String>, RepositoryError>;

    /// Replaces the key set of this issuer. One row per issuer; another issuer's row is kept.
    async fn save(&self, issuer: &str, keys: &str, now: Timestamp) -> Result<(), RepositoryError>;
}
