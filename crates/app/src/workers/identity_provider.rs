//! Keeps the keys of the identity provider fresh.

use super::Workers;

impl Workers {
    /// Never returns; without an identity provider it does nothing.
    pub(super) async fn keep_keys(&self) {
        match &self.features.provider {
            Some(provider) => provider.keep_keys().await,
            None => std::future::pending().await,
        }
    }
}
