//! The rules for tokens (contract §3.2).

use std::collections::HashSet;
use std::time::Duration;

use coredock_domain::identity::verifier::{Claims, TokenFault, VerifyError};
use coredock_domain::timestamp::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::Value;

/// Longer tokens are refused unread. Keycloak's have 1–4 KB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a token must be.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// `OIDC_AUDIENCE`
    pub audience: String,
    /// `OIDC_CLOCK_SKEW_SECONDS`
    pub clock_skew: Duration,
}

/// A token with a good signature of the right issuer and audience.
#[derive(Debug, Clone)]
pub(crate) struct SignedToken {
    pub(crate) claims: Claims,
    /// Of ID tokens: the login for which it was made.
    pub(crate) nonce: Option<String>,
    /// It says that it is made for something else than access: an ID token is in URLs and logs.
    pub(crate) is_no_access_token: bool,
    times: Times,
}

/// Instants in seconds since 1970; tokens may have fractions (RFC 7519, §2 `NumericDate`).
#[derive(Debug, Clone, Copy)]
struct Times {
    expires: f64,
    issued: f64,
    not_before: Option<f64>,
}

#[derive(Deserialize)]
struct RawClaims {
    sub: String,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    azp: Option<String>,
    nonce: Option<String>,
    #[serde(default)]
    typ: Value,
    #[serde(default)]
    at_hash: Value,
    #[serde(default)]
    name: Value,
    #[serde(default)]
    email: Value,
    #[serde(default)]
    realm_access: Value,
    #[serde(default)]
    resource_access: Value,
}

const fn refused(fault: TokenFault, reason: &'static str) -> VerifyError {
    VerifyError::Refused { fault, reason }
}

/// The header of a token that may be acceptable.
pub(crate) fn header(token: &str) -> Result<Header, VerifyError> {
    let malformed = |reason| refused(TokenFault::Malformed, reason);
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed("the token is too long"));
    }
    let header = jsonwebtoken::decode_header(token);
    let header = header.map_err(|_not_a_token| malformed("the token is not a signed JWT"))?;
    let accepted = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    if !accepted.contains(&header.alg) {
        return Err(malformed("the algorithm of the token is not accepted"));
    }
    Ok(header)
}

/// No key of the provider has the id in the header of the token.
pub(crate) const UNKNOWN_KEY: VerifyError =
    refused(TokenFault::Signature, "the token is signed with an unknown key");

/// An ID token or another token that is not for calls.
pub(crate) const NO_ACCESS_TOKEN: VerifyError =
    refused(TokenFault::Claims, "the token is no access token");

impl TokenRules {
    /// Checks everything but the times.
    pub(crate) fn check(
        &self,
        token: &str,
        algorithm: Algorithm,
        key: &DecodingKey,
        issuer: &str,
    ) -> Result<SignedToken, VerifyError> {
        let mut rules = Validation::new(algorithm);
        rules.required_spec_claims =
            ["iss", "aud", "exp", "sub"].into_iter().map(str::to_owned).collect();
        // Times are checked against the clock of the caller, see `check_times`.
        rules.validate_exp = false;
        rules.iss = Some(HashSet::from([issuer.to_owned()]));
        rules.aud = Some(HashSet::from([self.audience.clone()]));
        let decoded = jsonwebtoken::decode::<RawClaims>(token, key, &rules);
        let raw = decoded.map_err(|error| fault(error.kind()))?.claims;
        if raw.sub.is_empty() {
            return Err(refused(TokenFault::Claims, "the subject of the token is empty"));
        }
        Ok(self.read(raw))
    }

    fn read(&self, raw: RawClaims) -> SignedToken {
        let of_audience = raw.resource_access.get(&self.audience);
        let lists = [Some(&raw.realm_access), of_audience];
        let roles = lists
            .into_iter()
            .flatten()
            .filter_map(|access| access.get("roles")?.as_array())
            .flatten()
            .filter_map(|role| role.as_str().map(str::to_owned))
            .collect();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let claims = Claims {
            name: text(&raw.name),
            email: text(&raw.email),
            subject: raw.sub,
            client: raw.azp,
            roles,
        };
        let other = ["ID", "Refresh", "Logout"];
        let is_no_access_token =
            !raw.at_hash.is_null() || raw.typ.as_str().is_some_and(|kind| other.contains(&kind));
        let times = Times { expires: raw.exp, issued: raw.iat, not_before: raw.nbf };
        SignedToken { claims, nonce: raw.nonce, is_no_access_token, times }
    }

    /// Checks that a token is in force at this time.
    pub(crate) fn check_times(
        &self,
        token: &SignedToken,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let skew = self.clock_skew.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds until the year 2255 are exact"
        )]
        let now = now.micros() as f64 / 1e6;
        let Times { expires, issued, not_before } = token.times;
        if now >= expires + skew {
            return Err(refused(TokenFault::Expired, "the token has expired"));
        }
        if not_before.is_some_and(|not_before| not_before > now + skew) {
            return Err(refused(TokenFault::Claims, "the token is not in force yet"));
        }
        if issued > now + skew {
            return Err(refused(TokenFault::Claims, "the token was issued in the future"));
        }
        Ok(())
    }
}

fn fault(kind: &ErrorKind) -> VerifyError {
    match kind {
        ErrorKind::InvalidSignature => {
            refused(TokenFault::Signature, "the signature of the token is wrong")
        }
        ErrorKind::InvalidIssuer => refused(TokenFault::Claims, "the token is of another issuer"),
        ErrorKind::InvalidAudience => {
            refused(TokenFault::Claims, "the token is for another audience")
        }
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_) => {
            refused(TokenFault::Claims, "a claim of the token is absent or of a wrong type")
        }
        _ => refused(TokenFault::Malformed, "the token is not a signed JWT"),
    }
}
