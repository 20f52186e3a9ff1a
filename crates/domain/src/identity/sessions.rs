//! The sessions of browsers (contract §3.7): sign-in, refresh, sign-out.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::refreshes::{BeginRefresh, FinishRefresh, RefreshRepository, RefreshStart};
use super::seal::Seal;
use super::sign_in::{GrantError, LoginSecrets, SessionTokens, SignInProvider};
use super::verifier::{Claims, TokenVerifier, VerifyError};
use crate::clock::{Clock, Entropy, random_id};
use crate::digest::Sha256Digest;
use crate::error::RepositoryError;
use crate::ids::LeaseOwner;
use crate::timestamp::Timestamp;

/// How long a browser may take to sign in (contract §3.7).
pub const LOGIN_LIFE: Duration = Duration::from_mins(10);
/// A grant that takes longer has failed.
const REFRESH_LEASE: Duration = Duration::from_secs(30);
/// How long calls with the same refresh token get the result of the grant (contract §3.7).
const RESULT_LIFE: Duration = Duration::from_mins(1);
/// Between two looks at a grant which another call makes.
const REFRESH_POLL: Duration = Duration::from_millis(100);
/// Expired results that are deleted after a grant.
const MAX_DELETES: i64 = 100;

pub struct SessionPorts {
    pub provider: Arc<dyn SignInProvider>,
    pub verifier: Arc<dyn TokenVerifier>,
    pub refreshes: Arc<dyn RefreshRepository>,
    pub seal: Arc<dyn Seal>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// The use cases of browser sessions.
#[derive(Clone)]
pub struct Sessions(Arc<SessionPorts>);

/// A login between its first redirect and its callback. Sealed, it is the `state` of the provider's
/// callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Known to the browser that began it, in a cookie.
    pub id: String,
    /// Where the browser goes when it is signed in.
    pub redirect: String,
    secrets: LoginSecrets,
    expires_at_micros: i64,
}

/// A login that begins.
pub struct BegunLogin {
    pub login: Login,
    /// The page of the provider.
    pub url: String,
}

/// A user who signed in.
#[derive(Debug)]
pub struct SignedIn {
    pub tokens: SessionTokens,
    pub claims: Claims,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The refresh token, the code or a new token is not acceptable.
    #[error("{reason}")]
    Refused { reason: &'static str },
    #[error("the identity provider does not answer")]
    ProviderUnavailable {
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("another call has not finished the refresh of this session in time")]
    Slow,
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl From<GrantError> for SessionError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Refused { reason } => Self::Refused { reason },
            GrantError::Unavailable { source } => Self::ProviderUnavailable { source },
        }
    }
}

impl From<VerifyError> for SessionError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Refused { reason, .. } => Self::Refused { reason },
            VerifyError::Unavailable { source } => Self::ProviderUnavailable { source },
        }
    }
}

impl Sessions {
    pub fn new(ports: SessionPorts) -> Self {
        Self(Arc::new(ports))
    }

    /// Begins a login that ends at `redirect`, which the caller has checked.
    pub async fn begin(&self, redirect: String) -> Result<BegunLogin, SessionError> {
        let Self(ports) = self;
        let login = Login {
            id: random_id(&*ports.entropy),
            redirect,
            secrets: LoginSecrets {
                nonce: random_id(&*ports.entropy),
                code_verifier: random_verifier(&*ports.entropy),
            },
            expires_at_micros: ports.clock.now().after(LOGIN_LIFE).micros(),
        };
        let text = serde_json::to_vec(&login).unwrap_or_default();
        let state = URL_SAFE_NO_PAD.encode(ports.seal.seal(&text));
        let url = ports.provider.authorization_url(&login.secrets, &state).await?;
        Ok(BegunLogin { login, url })
    }

    /// The login of a `state`; `None` if it is none of this installation, or too old.
    pub fn login_of(&self, state: &str) -> Option<Login> {
        let Self(ports) = self;
        let sealed = URL_SAFE_NO_PAD.decode(state).ok()?;
        let login: Login = serde_json::from_slice(&ports.seal.open(&sealed)?).ok()?;
        let expires_at = Timestamp::from_micros(login.expires_at_micros);
        (ports.clock.now() < expires_at).then_some(login)
    }

    /// Ends a login whose browser is known to be the one that began it.
    pub async fn complete(&self, login: &Login, code: &str) -> Result<SignedIn, SessionError> {
        let Self(ports) = self;
        let tokens = ports.provider.exchange(code, &login.secrets).await?;
        let claims = ports.verifier.verify(&tokens.access).await?;
        Ok(SignedIn { tokens, claims })
    }

    /// New tokens for a refresh token. All calls with the same one share a grant and its result.
    /// The access token is not checked yet.
    pub async fn refresh(&self, refresh_token: &str) -> Result<SessionTokens, SessionError> {
        let Self(ports) = self;
        let token = Sha256Digest::of(refresh_token.as_bytes());
        let owner = LeaseOwner::random(&*ports.entropy);
        let deadline = ports.clock.now().after(REFRESH_LEASE);
        loop {
            let now = ports.clock.now();
            let until = now.after(REFRESH_LEASE);
            let begin = BeginRefresh { token, owner: owner.clone(), now, until };
            match ports.refreshes.begin(begin).await? {
                RefreshStart::Granted => return self.grant(refresh_token, token, &owner).await,
                RefreshStart::Done(sealed) => {
                    let tokens = ports.seal.open(&sealed);
                    let tokens = tokens.and_then(|text| serde_json::from_slice(&text).ok());
                    let reason = "the session was refreshed under another SECRET_KEY";
                    return tokens.ok_or(SessionError::Refused { reason });
                }
                RefreshStart::InProgress if now < deadline => {
                    ports.clock.sleep(REFRESH_POLL).await;
                }
                RefreshStart::InProgress => return Err(SessionError::Slow),
            }
        }
    }

    /// Uses a refresh token, and keeps the result for the other calls.
    async fn grant(
        &self,
        refresh_token: &str,
        token: Sha256Digest,
        owner: &LeaseOwner,
    ) -> Result<SessionTokens, SessionError> {
        let Self(ports) = self;
        let mut tokens = match ports.provider.refresh(refresh_token).await {
            Ok(tokens) => tokens,
            Err(error) => {
                if let Err(failure) = ports.refreshes.abandon(&token, owner).await {
                    let failure = &failure as &dyn std::error::Error;
                    tracing::warn!(error = failure, "a refresh keeps its lease until it ends");
                }
                return Err(error.into());
            }
        };
        tokens.refresh.get_or_insert_with(|| refresh_token.to_owned());
        let sealed = ports.seal.seal(&serde_json::to_vec(&tokens).unwrap_or_default());
        let now = ports.clock.now();
        let expires_at = now.after(RESULT_LIFE);
        let finished = FinishRefresh { token, owner: owner.clone(), sealed, expires_at };
        // The grant is made: a failure here costs the other calls their share, not this one.
        let kept = async {
            ports.refreshes.finish(finished).await?;
            ports.refreshes.delete_expired(now, MAX_DELETES).await
        };
        if let Err(error) = kept.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the result of a refresh could not be shared with other calls");
        }
        Ok(tokens)
    }

    /// Where a browser signs out at the provider; `None` if the provider has no such page.
    pub async fn end_session_url(
        &self,
        id_token: Option<&str>,
        return_to: &str,
    ) -> Result<Option<String>, SessionError> {
        let Self(ports) = self;
        Ok(ports.provider.end_session_url(id_token, return_to).await?)
    }
}

/// 43 characters of 32 random bytes (RFC 7636 §4.1).
fn random_verifier(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
