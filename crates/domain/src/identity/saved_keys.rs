//! The port of the keys that outlive a restart (contract §3.3).

use async_trait::async_trait;

use crate::error::RepositoryError;
use crate::timestamp::Timestamp;

/// Stores the last good key set of an identity provider, so that tokens are accepted after a restart
/// while the provider is away. The sets are texts whose form only the verifier knows.
#[async_trait]
pub trait SavedKeys: Send + Sync {
    /// The key set saved last for this issuer; `None` if none was saved.
    async fn load(&self, issuer: &str) -> Result<Option<String>, RepositoryError>;

    /// Replaces the key set of this issuer. One row per issuer; another issuer's row is kept.
    async fn save(&self, issuer: &str, keys: &str, now: Timestamp) -> Result<(), RepositoryError>;
}
