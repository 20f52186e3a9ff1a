//! The settings of the provider, which it reads as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::JwsAlgorithm;

/// Roles by client.
pub type ResourceRoles = BTreeMap<String, Vec<String>>;

#[derive(Debug, Clone, Serialize)]
pub struct OidcSettings {
    /// 0 chooses a free port.
    pub port: u16,
    /// `aud` of access tokens.
    pub audience: Vec<String>,
    /// Signs access tokens and ID tokens.
    pub algorithm: JwsAlgorithm,
    /// The provider publishes one key for each.
    pub algorithms: Vec<JwsAlgorithm>,
    /// With a sign-in form instead of an automatic sign-in of the default account.
    pub interactive: bool,
    /// The login of the account which signs in without a form.
    pub default_account: String,
    pub refresh_tokens: RefreshTokens,
    pub access_token_seconds: u32,
    pub refresh_token_seconds: u32,
    pub accounts: Vec<OidcAccount>,
    pub clients: Vec<OidcClient>,
}

/// The form of refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokens {
    /// With a readable end of life, as of Keycloak.
    Jwt,
    Opaque,
}

/// A user, who signs in without a password.
#[derive(Debug, Clone, Serialize)]
pub struct OidcAccount {
    /// What the user types; also `sub`.
    pub login: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub realm_roles: Vec<String>,
    pub resource_roles: ResourceRoles,
}

/// A client. With redirect URIs it signs users in; with a secret it gets tokens for itself.
#[derive(Debug, Clone, Serialize)]
pub struct OidcClient {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    /// Roles of tokens which the client gets for itself.
    pub realm_roles: Vec<String>,
    pub resource_roles: ResourceRoles,
}

impl Default for OidcSettings {
    /// One account for each role of Coredock, with the role as login, and `nobody` without a role.
    /// The account `admin` signs in without a form. There are no clients.
    fn default() -> Self {
        let accounts = ["admin", "editor", "viewer", "pipeline"].map(OidcAccount::with_role);
        let nobody = OidcAccount::new("nobody", &[]);
        Self {
            port: 0,
            audience: vec!["coredock".to_owned()],
            algorithm: JwsAlgorithm::RS256,
            algorithms: vec![JwsAlgorithm::RS256, JwsAlgorithm::ES256, JwsAlgorithm::EdDSA],
            interactive: false,
            default_account: "admin".to_owned(),
            refresh_tokens: RefreshTokens::Jwt,
            access_token_seconds: 300,
            refresh_token_seconds: 1800,
            accounts: accounts.into_iter().chain([nobody]).collect(),
            clients: Vec::new(),
        }
    }
}

impl OidcAccount {
    /// An account with a name and an e-mail address made of its login.
    pub fn new(login: &str, realm_roles: &[&str]) -> Self {
        Self {
            login: login.to_owned(),
            name: Some(format!("Test {login}")),
            email: Some(format!("{login}@example.org")),
            realm_roles: texts(realm_roles),
            resource_roles: ResourceRoles::new(),
        }
    }

    /// An account with one role, which is its login too.
    pub fn with_role(role: &str) -> Self {
        Self::new(role, &[role])
    }
}

impl OidcClient {
    /// A client with a secret, at which users cannot sign in.
    fn machine(id: &str, secret: &str, realm_roles: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            secret: Some(secret.to_owned()),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            realm_roles: texts(realm_roles),
            resource_roles: ResourceRoles::new(),
        }
    }

    pub fn device(model: &str, key: &str, secret: &str) -> Self {
        Self::machine(&device_client(model, key), secret, &[])
    }

    pub fn pipeline(id: &str, secret: &str) -> Self {
        Self::machine(id, secret, &["pipeline"])
    }

    /// The client of a Coredock at `base_url`, which has no trailing `/`.
    pub fn web(id: &str, secret: &str, base_url: &str) -> Self {
        Self {
            redirect_uris: vec![format!("{base_url}/api/auth/callback")],
            post_logout_redirect_uris: vec![format!("{base_url}/")],
            ..Self::machine(id, secret, &[])
        }
    }
}

/// The id of the client of a device.
pub(super) fn device_client(model: &str, key: &str) -> String {
    format!("iotdevice-{model}-{key}")
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
