//! The port to the sign-in of an identity provider (contract §3.7).

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Signs users in by the authorization code flow (RFC 6749 §4.1, RFC 7636).
#[async_trait]
pub trait SignInProvider: Send + Sync {
    /// Where the browser is sent to sign in.
    async fn authorization_url(
        &self,
        login: &LoginSecrets,
        state: &str,
    ) -> Result<String, GrantError>;

    /// Exchanges the code which the browser brought back, and checks the ID token.
    async fn exchange(&self, code: &str, login: &LoginSecrets)
    -> Result<SessionTokens, GrantError>;

    /// Exchanges a refresh token. The result may lack the refresh token if it stays the same.
    async fn refresh(&self, refresh_token: &str) -> Result<SessionTokens, GrantError>;

    /// Where the browser is sent to sign out, with the URL to which it returns; `None` if the
    /// provider has no such page.
    async fn end_session_url(
        &self,
        id_token: Option<&str>,
        return_to: &str,
    ) -> Result<Option<String>, GrantError>;
}

/// What binds the parts of one login to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSecrets {
    /// The ID token must contain it.
    pub nonce: String,
    /// Proves that the code is exchanged by the process that asked for it.
    pub code_verifier: String,
}

/// The tokens of a browser session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTokens {
    pub access: String,
    /// In seconds, as the provider says.
    pub access_life: Option<u64>,
    pub refresh: Option<String>,
    pub id: Option<String>,
}

impl std::fmt::Debug for SessionTokens {
    /// Tokens are not for logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SessionTokens").finish_non_exhaustive()
    }
}

/// Why a provider granted nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GrantError {
    /// The code or the refresh token is not good, or the answer is not acceptable.
    #[error("{reason}")]
    Refused { reason: &'static str },
    /// The provider does not answer, or fails.
    #[error("the identity provider does not answer")]
    Unavailable {
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}
