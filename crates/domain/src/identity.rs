//! Who calls (contract §3): devices, and users with roles.
//!
//! Tokens are checked behind the port [`TokenVerifier`](verifier::TokenVerifier); what a checked
//! token allows is decided here.

pub mod device;
pub mod refreshes;
pub mod roles;
pub mod saved_keys;
pub mod seal;
pub mod sessions;
pub mod sign_in;
pub mod verifier;

use crate::audit::{Actor, ActorKind};
use device::DeviceClaim;
use roles::Roles;

/// The caller of one request, as its token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Device(DeviceClaim),
    User(User),
}

/// A person or a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The `sub` of the token.
    pub subject: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub roles: Roles,
}

impl Principal {
    /// The actor of audit records.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Device(claim) => claim.actor(),
            Self::User(user) => Actor {
                subject: user.subject.clone(),
                name: user.name.clone().or_else(|| user.email.clone()),
                kind: ActorKind::User,
            },
        }
    }
}
