//! Puts authentication together.

use std::sync::Arc;

use coredock_domain::TokenVerifier;
use coredock_domain::identity::sessions::{SessionPorts, Sessions};
use coredock_identity::{
    FetchError, OidcVerifier, Provider, ProviderPorts, ProviderSettings, RelyingParty,
    RelyingPartySettings, SecretSeal, TokenRules,
};

use super::{Wiring, WiringError};
use crate::config::OidcConfig;

/// The parts of authentication.
pub(super) struct Identity {
    pub(super) provider: Arc<Provider>,
    pub(super) verifier: Arc<dyn TokenVerifier>,
    pub(super) sessions: Sessions,
}

impl Wiring<'_> {
    /// `None` without an identity provider.
    pub(super) fn identity(&self) -> Result<Option<Identity>, WiringError> {
        let Some(oidc) = &self.config.oidc else { return Ok(None) };
        let provider = Arc::new(self.provider(oidc)?);
        let rules = TokenRules { audience: oidc.audience.clone(), clock_skew: oidc.clock_skew };
        let settings = RelyingPartySettings {
            client_id: oidc.client_id.clone(),
            client_secret: oidc.client_secret.reveal().to_owned(),
            redirect_url: format!("{}/api/auth/callback", self.config.http.base_url),
            scopes: oidc.scopes.clone(),
        };
        let relying_party = RelyingParty::new(provider.clone(), &rules, settings)?;
        let verifier = Arc::new(OidcVerifier::new(provider.clone(), rules));
        let sessions = Sessions::new(SessionPorts {
            provider: Arc::new(relying_party),
            verifier: verifier.clone(),
            refreshes: self.adapters.rows.refreshes.clone(),
            seal: Arc::new(SecretSeal::new(oidc.secret_key.reveal())?),
            clock: self.clock(),
            entropy: self.entropy(),
        });
        Ok(Some(Identity { provider, verifier, sessions }))
    }

    fn provider(&self, oidc: &OidcConfig) -> Result<Provider, FetchError> {
        let refreshes = self.metrics.jwks_refreshes.clone();
        let ports = ProviderPorts {
            saved: self.adapters.rows.saved_keys.clone(),
            clock: self.clock(),
            observe: Arc::new(move |trigger, succeeded| {
                let status = if succeeded { "success" } else { "error" };
                refreshes.with_label_values(&[trigger.as_str(), status]).inc();
            }),
        };
        let settings = ProviderSettings { issuer: oidc.issuer.clone(), keys_ttl: oidc.keys_ttl };
        Provider::new(settings, ports)
    }
}
