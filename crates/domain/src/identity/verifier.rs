//! The port that checks tokens.

use std::sync::Arc;

use async_trait::async_trait;

use super::device::DeviceClaim;
use super::roles::Roles;
use super::{Principal, User};

/// Checks the tokens of an identity provider.
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// Checks a token (contract §3.2). It may wait for the keys of the provider, for 10 s at most.
    async fn verify(&self, token: &str) -> Result<Claims, VerifyError>;

    /// Whether the provider answered when its keys were fetched last, or was not asked yet.
    fn provider_answers(&self) -> bool;
}

/// What Coredock reads from an accepted token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`
    pub subject: String,
    /// `azp`, the client that got the token.
    pub client: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    /// The names in `realm_access.roles` and in `resource_access` of the audience.
    pub roles: Vec<String>,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The token is not acceptable. The reason is for the log and for people; it contains no part
    /// of the token.
    #[error("{reason}")]
    Refused { fault: TokenFault, reason: &'static str },
    /// No key of the provider is known, and the provider does not answer.
    #[error("no key of the identity provider is known")]
    Unavailable {
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// It was good until its `exp`.
    Expired,
    /// No known key made its signature.
    Signature,
    /// Its signature is good, but a claim is absent, of the wrong type or not acceptable.
    Claims,
    /// It is no signed token of an accepted algorithm.
    Malformed,
}

impl Claims {
    /// The caller: a device if the client is that of a device, whatever roles it has, else a user.
    pub fn principal(self) -> Principal {
        if let Some(claim) = self.client.as_deref().and_then(DeviceClaim::of_client) {
            return Principal::Device(claim);
        }
        Principal::User(User {
            subject: self.subject,
            name: self.name,
            email: self.email,
            roles: Roles::named(self.roles.iter().map(String::as_str)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(client: Option<&str>) -> Claims {
        Claims {
            subject: "s".into(),
            client: client.map(str::to_owned),
            name: None,
            email: None,
            roles: vec!["admin".into()],
        }
    }

    #[test]
    fn the_token_of_a_device_is_no_user_whatever_roles_it_has() {
        let device = claims(Some("iotdevice-demo-abcd2345")).principal();
        assert!(matches!(device, Principal::Device(_)), "{device:?}");
        for client in [None, Some("coredock"), Some("iotdevice-M9-abc")] {
            let user = claims(client).principal();
            assert!(
                matches!(&user, Principal::User(user) if user.roles.is_recognised()),
                "{user:?}"
            );
        }
    }
}
