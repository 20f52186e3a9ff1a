//! Tokens of any content, faulty ones included.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::settings::device_client;

/// How a token is signed (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum JwsAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
    EdDSA,
    /// With the published RSA key, as PEM, for a secret.
    HS256,
    #[serde(rename = "none")]
    Unsigned,
}

/// What a token contains. Without further wishes it is signed by the provider and valid for 5
/// minutes.
#[derive(Debug, Clone, Default, Serialize)]
#[must_use]
pub struct TokenRequest {
    #[serde(rename = "alg", skip_serializing_if = "Option::is_none")]
    algorithm: Option<JwsAlgorithm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl TokenRequest {
    /// A token of a device.
    pub fn device(model: &str, key: &str) -> Self {
        let client = device_client(model, key);
        Self::default().claim("sub", client.clone()).claim("azp", client)
    }

    /// A token of a user without roles, who signed in at the client `coredock`.
    pub fn user(subject: &str) -> Self {
        Self::default().claim("sub", subject).claim("azp", "coredock")
    }

    pub fn realm_roles(self, roles: &[&str]) -> Self {
        self.claim("realm_access", json!({ "roles": roles }))
    }

    /// Roles at one client, in place of those at others.
    pub fn resource_roles(self, client: &str, roles: &[&str]) -> Self {
        self.claim("resource_access", json!({ client: { "roles": roles } }))
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves out a claim which every token has.
    pub fn without(self, claim: &str) -> Self {
        self.claim(claim, Value::Null)
    }

    /// A claim with a time: this many seconds after now, or before it if negative.
    pub fn time(self, claim: &str, seconds: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.claim(claim, now.saturating_add_signed(seconds))
    }

    /// A member of the header; null leaves it out.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Anything in place of the claims. A text is signed as it is.
    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    pub fn algorithm(mut self, algorithm: JwsAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Signs by a new key which is not published.
    pub fn foreign_key(mut self) -> Self {
        self.key = Some("foreign");
        self
    }

    /// Another key id in the header than that of the key, or none.
    pub fn key_id(mut self, id: Option<&str>) -> Self {
        self.kid = Some(id.into());
        self
    }
}
