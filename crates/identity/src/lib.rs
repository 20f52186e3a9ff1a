//! `OpenID` Connect: the keys of an identity provider, and the check of its tokens (contract §3.2,
//! §3.3).

mod discovery;
mod fetch;
mod key_set;
mod provider;
mod relying_party;
mod sealed;
mod token;
mod verifier;

pub use fetch::FetchError;
pub use provider::{Provider, ProviderPorts, ProviderSettings, RefreshTrigger};
pub use relying_party::{RelyingParty, RelyingPartySettings};
pub use sealed::{SealError, SecretSeal};
pub use verifier::{OidcVerifier, TokenRules};
