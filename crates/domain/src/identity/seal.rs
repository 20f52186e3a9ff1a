//! The port that encrypts what leaves the process (contract §3.7).

/// Authenticated encryption under the secret of the installation (`SECRET_KEY`).
pub trait Seal: Send + Sync {
    fn seal(&self, text: &[u8]) -> Vec<u8>;

    /// `None` if it was sealed by another key or changed since.
    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>>;
}
