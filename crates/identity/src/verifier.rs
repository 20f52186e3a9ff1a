//! The check of tokens against the keys of a provider.

use std::sync::Arc;

use async_trait::async_trait;
use coredock_domain::TokenVerifier;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::identity::verifier::{Claims, VerifyError};
use jsonwebtoken::Header;
use moka::sync::Cache;

use crate::provider::{CurrentKeys, Provider};
pub use crate::token::TokenRules;
use crate::token::{NO_ACCESS_TOKEN, SignedToken, UNKNOWN_KEY, header};

/// Remembered tokens. A device sends the same token until it expires; its signature is checked once.
const MAX_REMEMBERED: u64 = 20_000;

/// Checks tokens of one provider.
pub struct OidcVerifier {
    provider: Arc<Provider>,
    rules: TokenRules,
    /// Tokens with a good signature, by their SHA-256. Their times are checked at each use, and they
    /// count only as long as the keys do not change.
    remembered: Cache<Sha256Digest, Arc<Remembered>>,
}

struct Remembered {
    token: SignedToken,
    /// Of the keys that checked it.
    generation: u64,
}

impl OidcVerifier {
    pub fn new(provider: Arc<Provider>, rules: TokenRules) -> Self {
        Self { provider, rules, remembered: Cache::new(MAX_REMEMBERED) }
    }

    /// Checks a token with the known keys, or with newer ones if they do not contain its key.
    async fn check(&self, token: &str, keys: CurrentKeys) -> Result<Arc<Remembered>, VerifyError> {
        let header = header(token)?;
        if let Some(checked) = self.check_with(token, &header, &keys) {
            return checked;
        }
        let newer = self.provider.keys_after(keys.generation).await;
        let checked = newer.and_then(|keys| self.check_with(token, &header, &keys));
        checked.unwrap_or(Err(UNKNOWN_KEY))
    }

    /// `None` if the set has no key for this token.
    fn check_with(
        &self,
        token: &str,
        header: &Header,
        keys: &CurrentKeys,
    ) -> Option<Result<Arc<Remembered>, VerifyError>> {
        let mut refusal = None;
        for key in keys.set.candidates(header.kid.as_deref(), header.alg) {
            match self.rules.check(token, header.alg, key, self.provider.issuer()) {
                Ok(token) => {
                    let generation = keys.generation;
                    return Some(Ok(Arc::new(Remembered { token, generation })));
                }
                Err(error) => refusal = Some(Err(error)),
            }
        }
        refusal
    }
}

impl OidcVerifier {
    /// An accepted token.
    pub(crate) async fn signed(&self, token: &str) -> Result<SignedToken, VerifyError> {
        let unavailable = |source| VerifyError::Unavailable { source };
        let keys = self.provider.keys().await.map_err(|error| unavailable(error))?;
        let id = Sha256Digest::of(token.as_bytes());
        let known = self.remembered.get(&id);
        let known = known.filter(|known| known.generation == keys.generation);
        let checked = if let Some(known) = known {
            known
        } else {
            let checked = self.check(token, keys).await?;
            self.remembered.insert(id, checked.clone());
            checked
        };
        self.rules.check_times(&checked.token, self.provider.clock().now())?;
        Ok(checked.token.clone())
    }
}

#[async_trait]
impl TokenVerifier for OidcVerifier {
    async fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let token = self.signed(token).await?;
        if token.is_no_access_token { Err(NO_ACCESS_TOKEN) } else { Ok(token.claims) }
    }

    fn provider_answers(&self) -> bool {
        self.provider.answers()
    }
}
