//! Signs users in at a provider (contract §3.7). The flow is that of the crate `oauth2`; ID tokens
//! are checked like all other tokens.

use std::sync::Arc;

use async_trait::async_trait;
use coredock_domain::identity::sign_in::{GrantError, LoginSecrets, SessionTokens, SignInProvider};
use coredock_domain::identity::verifier::VerifyError;
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EndpointNotSet, EndpointSet, ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use crate::discovery::Discovery;
use crate::fetch::{FetchError, Fetcher};
use crate::provider::Provider;
use crate::verifier::{OidcVerifier, TokenRules};

/// How Coredock is known to the provider.
#[derive(Debug, Clone)]
pub struct RelyingPartySettings {
    /// `OIDC_CLIENT_ID`
    pub client_id: String,
    /// `OIDC_CLIENT_SECRET`
    pub client_secret: String,
    /// `{BASEURL}/api/auth/callback`
    pub redirect_url: String,
    /// `OIDC_SCOPES`
    pub scopes: Vec<String>,
}

/// Coredock as a client of a provider.
pub struct RelyingParty {
    provider: Arc<Provider>,
    settings: RelyingPartySettings,
    id_tokens: OidcVerifier,
    fetcher: Fetcher,
}

/// The ID token in the answer of a token endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type TokenAnswer = StandardTokenResponse<IdToken, BasicTokenType>;

/// A client whose authorization and token endpoints are known.
type KnownClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

type TokenError = RequestTokenError<FetchError, BasicErrorResponse>;

impl RelyingParty {
    /// `rules` are those for access tokens; ID tokens are for the client instead of the audience.
    pub fn new(
        provider: Arc<Provider>,
        rules: &TokenRules,
        settings: RelyingPartySettings,
    ) -> Result<Self, FetchError> {
        let rules = TokenRules { audience: settings.client_id.clone(), ..rules.clone() };
        let id_tokens = OidcVerifier::new(provider.clone(), rules);
        Ok(Self { provider, settings, id_tokens, fetcher: Fetcher::new()? })
    }

    async fn discovery(&self) -> Result<Arc<Discovery>, GrantError> {
        self.provider.discovery().await.map_err(|source| GrantError::Unavailable { source })
    }

    fn client(&self, discovery: &Discovery) -> Result<KnownClient, GrantError> {
        let settings = &self.settings;
        let authorization = discovery.authorization_endpoint().map_err(unavailable)?;
        let token = discovery.token_endpoint().map_err(unavailable)?;
        let auth_type = if discovery.wants_secret_in_body() {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        let invalid = |_| unavailable(FetchError::Malformed("discovery: a URL is invalid".into()));
        Ok(Client::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.clone()))
            .set_auth_type(auth_type)
            .set_auth_uri(AuthUrl::new(authorization).map_err(invalid)?)
            .set_token_uri(TokenUrl::new(token).map_err(invalid)?)
            .set_redirect_uri(RedirectUrl::new(settings.redirect_url.clone()).map_err(invalid)?))
    }

    async fn check_id_token(&self, token: Option<&str>, nonce: &str) -> Result<(), GrantError> {
        let token = token.ok_or(refused("the identity provider sent no ID token"))?;
        let checked = self.id_tokens.signed(token).await.map_err(|error| match error {
            VerifyError::Refused { reason, .. } => GrantError::Refused { reason },
            VerifyError::Unavailable { source } => GrantError::Unavailable { source },
        })?;
        if checked.nonce.as_deref() == Some(nonce) {
            Ok(())
        } else {
            Err(refused("the ID token is that of another login"))
        }
    }
}

#[async_trait]
impl SignInProvider for RelyingParty {
    async fn authorization_url(
        &self,
        login: &LoginSecrets,
        state: &str,
    ) -> Result<String, GrantError> {
        let client = self.client(&*self.discovery().await?)?;
        let verifier = PkceCodeVerifier::new(login.code_verifier.clone());
        let state = state.to_owned();
        let (url, _) = client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(self.settings.scopes.iter().cloned().map(Scope::new))
            .add_extra_param("nonce", login.nonce.clone())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    async fn exchange(
        &self,
        code: &str,
        login: &LoginSecrets,
    ) -> Result<SessionTokens, GrantError> {
        let client = self.client(&*self.discovery().await?)?;
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(login.code_verifier.clone()))
            .request_async(&self.fetcher)
            .await;
        let tokens = tokens(&answer.map_err(grant_error)?);
        self.check_id_token(tokens.id.as_deref(), &login.nonce).await?;
        Ok(tokens)
    }

    async fn refresh(&self, refresh_token: &str) -> Result<SessionTokens, GrantError> {
        let client = self.client(&*self.discovery().await?)?;
        let answer = client
            .exchange_refresh_token(&RefreshToken::new(refresh_token.to_owned()))
            .request_async(&self.fetcher)
            .await;
        answer.map(|answer| tokens(&answer)).map_err(grant_error)
    }

    async fn end_session_url(
        &self,
        id_token: Option<&str>,
        return_to: &str,
    ) -> Result<Option<String>, GrantError> {
        let discovery = self.discovery().await?;
        let Some(page) = discovery.end_session_endpoint().map_err(unavailable)? else {
            return Ok(None);
        };
        let invalid = |_| unavailable(FetchError::Malformed("discovery: a URL is invalid".into()));
        let mut url = reqwest::Url::parse(&page).map_err(invalid)?;
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &self.settings.client_id);
        query.append_pair("post_logout_redirect_uri", return_to);
        if let Some(token) = id_token {
            query.append_pair("id_token_hint", token);
        }
        drop(query);
        Ok(Some(url.into()))
    }
}

fn tokens(answer: &TokenAnswer) -> SessionTokens {
    SessionTokens {
        access: answer.access_token().secret().clone(),
        access_life: answer.expires_in().map(|life| life.as_secs()),
        refresh: answer.refresh_token().map(|token| token.secret().clone()),
        id: answer.extra_fields().id_token.clone(),
    }
}

const fn refused(reason: &'static str) -> GrantError {
    GrantError::Refused { reason }
}

fn unavailable(source: FetchError) -> GrantError {
    GrantError::Unavailable { source: Arc::new(source) }
}

/// A code or token that is no longer good is refused; everything else is the fault of the provider
/// or of the configuration, and must not end the session of a user.
fn grant_error(error: TokenError) -> GrantError {
    match error {
        RequestTokenError::ServerResponse(answer)
            if *answer.error() == BasicErrorResponseType::InvalidGrant =>
        {
            refused("the identity provider refused the code or the refresh token")
        }
        RequestTokenError::ServerResponse(answer) => unavailable(FetchError::Malformed(format!(
            "the token endpoint answered with the error {}",
            answer.error().as_ref()
        ))),
        RequestTokenError::Request(error) => unavailable(error),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => unavailable(
            FetchError::Malformed("the token endpoint did not answer with tokens".into()),
        ),
    }
}
