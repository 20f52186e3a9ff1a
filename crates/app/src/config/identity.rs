//! Settings of authentication (contract §13).

use std::time::Duration;

use super::reader::Reader;
use super::{Secret, settings};

/// The identity provider.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// As the provider writes it, with or without a trailing slash.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// The `aud` that tokens must contain.
    pub audience: String,
    pub clock_skew: Duration,
    /// How long the keys of the provider are used before they are fetched again.
    pub keys_ttl: Duration,
    pub scopes: Vec<String>,
    /// Encrypts what browsers and the database keep of sessions (`SECRET_KEY`).
    pub secret_key: Secret,
    pub cookies: CookieConfig,
}

impl OidcConfig {
    /// Whether `SECRET_KEY` has its default, which everybody knows.
    pub fn has_public_secret(&self) -> bool {
        self.secret_key.reveal() == settings::lookup("SECRET_KEY").default
    }
}

/// The cookies of browser sessions.
#[derive(Debug, Clone)]
pub struct CookieConfig {
    /// Name of the cookie with the access token.
    pub access: String,
    /// Name of the cookie with the refresh token.
    pub refresh: String,
    /// Whether browsers send them over https only.
    pub secure: bool,
    /// `Lax`, `Strict` or `None`.
    pub same_site: String,
    pub partitioned: bool,
}

/// `None` without authentication.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<OidcConfig> {
    if !reader.boolean("OIDC_ENABLED") {
        return None;
    }
    for name in ["OIDC_ISSUER_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"] {
        if !reader.is_set(name) {
            reader.fault(format!("{name}: must be set, because OIDC_ENABLED is true"));
        }
    }
    let client_id = reader.text("OIDC_CLIENT_ID");
    Some(OidcConfig {
        issuer: reader.text("OIDC_ISSUER_URL"),
        audience: reader.optional("OIDC_AUDIENCE").unwrap_or_else(|| client_id.clone()),
        client_id,
        client_secret: Secret(reader.text("OIDC_CLIENT_SECRET")),
        clock_skew: reader.seconds("OIDC_CLOCK_SKEW_SECONDS"),
        keys_ttl: reader.seconds("JWKS_TTL_SECONDS"),
        scopes: reader.text("OIDC_SCOPES").split_ascii_whitespace().map(str::to_owned).collect(),
        secret_key: Secret(reader.text("SECRET_KEY")),
        cookies: cookies(reader),
    })
}

fn cookies(reader: &mut Reader<'_>) -> CookieConfig {
    let is_https = reader.text("BASEURL").starts_with("https://");
    let cookies = CookieConfig {
        access: cookie_name(reader, "OIDC_COOKIE_NAME"),
        refresh: cookie_name(reader, "OIDC_REFRESH_COOKIE_NAME"),
        secure: if reader.is_set("OIDC_COOKIE_SECURE") {
            reader.boolean("OIDC_COOKIE_SECURE")
        } else {
            is_https
        },
        same_site: reader.text("OIDC_COOKIE_SAMESITE"),
        partitioned: reader.boolean("OIDC_COOKIE_PARTITIONED"),
    };
    if cookies.access == cookies.refresh {
        reader.fault("OIDC_REFRESH_COOKIE_NAME: must differ from OIDC_COOKIE_NAME");
    }
    if !cookies.secure {
        let needs =
            "needs OIDC_COOKIE_SECURE, or a BASEURL with https: browsers refuse it otherwise";
        if cookies.same_site == "None" {
            reader.fault(format!("OIDC_COOKIE_SAMESITE: None {needs}"));
        }
        if cookies.partitioned {
            reader.fault(format!("OIDC_COOKIE_PARTITIONED: true {needs}"));
        }
    }
    cookies
}

/// A name of RFC 6265 §4.1.1.
fn cookie_name(reader: &mut Reader<'_>, setting: &str) -> String {
    let name = reader.text(setting);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(is_token) {
        reader.fault(format!("{setting}: must consist of letters, digits and !#$%&'*+-.^_`|~"));
    }
    name
}
