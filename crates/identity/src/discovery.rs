//! The discovery document of an identity provider (`OpenID` Connect Discovery 1.0, §3, §4).

use serde::Deserialize;
use serde_json::Value;

use crate::fetch::FetchError;

/// The members that Coredock uses; providers send dozens more. A member that only browsers need
/// keeps no device out if it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Discovery {
    issuer: String,
    /// Where the keys are.
    pub(crate) jwks_uri: String,
    #[serde(default)]
    authorization_endpoint: Value,
    #[serde(default)]
    token_endpoint: Value,
    #[serde(default)]
    end_session_endpoint: Value,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Value,
}

impl Discovery {
    /// Where the document of this issuer is.
    pub(crate) fn url(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
    }

    /// Reads the document of this issuer. Another issuer's document is refused.
    pub(crate) fn read(text: &str, issuer: &str) -> Result<Self, FetchError> {
        let malformed = |what: &str| FetchError::Malformed(format!("discovery: {what}"));
        let document: Self =
            serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        if document.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(malformed("expected the issuer of OIDC_ISSUER_URL, found another"));
        }
        document.check("jwks_uri", &document.jwks_uri)?;
        Ok(document)
    }

    pub(crate) fn authorization_endpoint(&self) -> Result<String, FetchError> {
        self.required("authorization_endpoint", &self.authorization_endpoint)
    }

    pub(crate) fn token_endpoint(&self) -> Result<String, FetchError> {
        self.required("token_endpoint", &self.token_endpoint)
    }

    /// `None` if users cannot sign out at the provider.
    pub(crate) fn end_session_endpoint(&self) -> Result<Option<String>, FetchError> {
        if self.end_session_endpoint.is_null() {
            return Ok(None);
        }
        self.required("end_session_endpoint", &self.end_session_endpoint).map(Some)
    }

    /// Whether the token endpoint takes the secret of the client in the form only. Without a list
    /// it takes HTTP Basic (`OpenID` Connect Discovery 1.0, §3).
    pub(crate) fn wants_secret_in_body(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_array();
        let takes = |method: &str| {
            methods.is_some_and(|methods| methods.iter().any(|known| known == method))
        };
        takes("client_secret_post") && !takes("client_secret_basic")
    }

    fn required(&self, name: &str, url: &Value) -> Result<String, FetchError> {
        let absent = || FetchError::Malformed(format!("discovery: expected {name} to be a URL"));
        let url = url.as_str().ok_or_else(absent)?;
        self.check(name, url)?;
        Ok(url.to_owned())
    }

    /// What is sent to the provider is not sent without TLS if the issuer has TLS.
    fn check(&self, name: &str, url: &str) -> Result<(), FetchError> {
        let is_plain = url.starts_with("http://") && !self.issuer.starts_with("https://");
        if url.starts_with("https://") || is_plain {
            return Ok(());
        }
        let expected = format!("discovery: expected {name} to be a URL as secure as the issuer");
        Err(FetchError::Malformed(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example/realms/r";

    fn read(issuer: &str, keys: &str) -> Result<Discovery, FetchError> {
        let text = serde_json::json!({"issuer": issuer, "jwks_uri": keys, "more": [1]}).to_string();
        Discovery::read(&text, ISSUER)
    }

    #[test]
    fn the_document_is_beside_the_issuer() {
        let expected = "https://id.example/realms/r/.well-known/openid-configuration";
        assert_eq!(Discovery::url(ISSUER), expected);
        assert_eq!(Discovery::url("https://id.example/realms/r/"), expected);
    }

    #[test]
    fn a_document_of_the_issuer_names_its_keys() {
        assert_eq!(
            read(ISSUER, "https://id.example/certs").unwrap().jwks_uri,
            "https://id.example/certs"
        );
        assert!(read("https://id.example/realms/r/", "https://id.example/certs").is_ok());
    }

    #[test]
    fn what_browsers_need_is_checked_when_it_is_used() {
        let document = |more: Value| {
            let mut document =
                serde_json::json!({"issuer": ISSUER, "jwks_uri": "https://id.example/certs"});
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Discovery::read(&document.to_string(), ISSUER).unwrap()
        };
        let none = document(serde_json::json!({"token_endpoint": 7}));
        assert!(none.authorization_endpoint().is_err() && none.token_endpoint().is_err());
        assert_eq!(none.end_session_endpoint().unwrap(), None);
        assert!(!none.wants_secret_in_body());
        let full = document(serde_json::json!({
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "http://id.example/token",
            "end_session_endpoint": "https://id.example/logout",
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
        }));
        assert_eq!(full.authorization_endpoint().unwrap(), "https://id.example/auth");
        assert!(full.token_endpoint().is_err(), "without TLS");
        let logout = full.end_session_endpoint().unwrap();
        assert_eq!(logout.as_deref(), Some("https://id.example/logout"));
        assert!(full.wants_secret_in_body());
    }

    #[test]
    fn another_issuer_and_insecure_keys_are_refused() {
        for (issuer, keys) in [
            ("https://evil.example/realms/r", "https://id.example/certs"),
            (ISSUER, "http://id.example/certs"),
            (ISSUER, "file:///etc/passwd"),
            (ISSUER, ""),
        ] {
            assert!(read(issuer, keys).is_err(), "{issuer} {keys}");
        }
        for text in ["", "[]", "{}", r#"{"issuer":5,"jwks_uri":"https://id.example"}"#] {
            assert!(Discovery::read(text, ISSUER).is_err(), "{text}");
        }
    }
}
