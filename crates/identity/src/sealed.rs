//! Authenticated encryption by AES-256-GCM under a key derived from `SECRET_KEY`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use coredock_domain::identity::seal::Seal;

/// What the key is for, so that it is no key of anything else derived from the same secret.
const PURPOSE: &str = "coredock/sealed/1";

/// Seals texts: a random nonce, then the encrypted text and its tag.
pub struct SecretSeal(RandomizedNonceKey);

/// The cryptographic library refused the key.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no key could be derived from SECRET_KEY")]
pub struct SealError;

impl SecretSeal {
    pub fn new(secret_key: &str) -> Result<Self, SealError> {
        let key = digest(&SHA256, format!("{PURPOSE}\0{secret_key}").as_bytes());
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref());
        key.map(Self).map_err(|Unspecified| SealError)
    }
}

impl Seal for SecretSeal {
    fn seal(&self, text: &[u8]) -> Vec<u8> {
        let mut sealed = text.to_vec();
        match self.0.seal_in_place_append_tag(Aad::empty(), &mut sealed) {
            Ok(nonce) => [nonce.as_ref().as_slice(), &sealed].concat(),
            // Only texts of 64 GiB are refused. Nothing opens the empty text.
            Err(Unspecified) => Vec::new(),
        }
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut sealed = sealed.to_vec();
        let text = self.0.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Some(text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_an_unchanged_text() {
        let seal = SecretSeal::new("secret").unwrap();
        let sealed = seal.seal(b"text");
        assert_ne!(sealed, seal.seal(b"text"), "a nonce is used once");
        assert_eq!(seal.open(&sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(SecretSeal::new("other").unwrap().open(&sealed), None);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(seal.open(&changed), None, "byte {index}");
            assert_eq!(seal.open(&sealed[..index]), None);
        }
    }
}
