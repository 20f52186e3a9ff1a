//! Servers behind an identity provider.

use coredock_testkit::oidc::{OidcProvider, TokenRequest};
use reqwest::Method;

use super::{Answer, TestServer};

pub(crate) const CLIENT_SECRET: &str = "secret-of-the-client";

impl TestServer {
    /// A server behind a provider, to which requests are sent by an administrator.
    pub(crate) async fn behind(provider: &OidcProvider, settings: &[(&str, &str)]) -> Self {
        let mut all = settings_of(provider);
        all.extend_from_slice(settings);
        let mut server = Self::with(&all).await;
        server.sign_in(user(provider, &["admin"]));
        server
    }

    /// `GET` with a token.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(self.anonymous_request(Method::GET, path).bearer_auth(token)).await
    }

    /// `POST` of any bytes with a token.
    pub(crate) async fn post_as(
        &self,
        token: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.anonymous_request(Method::POST, path).bearer_auth(token);
        self.send(request.body(body)).await
    }
}

/// The settings that put a server behind a provider.
pub(crate) fn settings_of(provider: &OidcProvider) -> Vec<(&str, &str)> {
    vec![
        ("SYMBOLIZER", "off"),
        ("OIDC_ENABLED", "true"),
        ("OIDC_ISSUER_URL", provider.issuer()),
        ("OIDC_CLIENT_ID", "coredock"),
        ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
    ]
}

/// A token of a user with these roles.
pub(crate) fn user(provider: &OidcProvider, roles: &[&str]) -> String {
    provider.sign(&TokenRequest::user("u-1").realm_roles(roles))
}
