//! The public keys of an identity provider (JWK Set, RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::fetch::FetchError;

/// Keys of a set beyond this number are ignored; providers publish two or three.
const MAX_KEYS: usize = 100;

/// The accepted algorithms (contract §3.2).
const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// The keys that can check a token.
#[derive(Debug, Clone)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// The text from which the set was read.
    text: String,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    /// The only algorithm that the provider uses with this key, if it says so.
    only: Option<KeyAlgorithm>,
    decoding: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys of unknown kinds and keys for encryption are left out; a set without any
    /// other key is refused, because it would stop the fleet.
    pub(crate) fn read(text: String) -> Result<Self, FetchError> {
        let malformed = |what: String| FetchError::Malformed(format!("key set: {what}"));
        let document: Document =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let found = document.keys.len();
        let keys: Vec<Key> =
            document.keys.into_iter().take(MAX_KEYS).filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(malformed(format!("none of its {found} keys can check a token")));
        }
        Ok(Self { keys, text })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The keys that may have made a signature: those with the id in the header of the token, or
    /// all if it names none. More than one has the same id only if the provider repeats ids.
    pub(crate) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let suits = move |key: &&Key| {
            key.algorithms.contains(&algorithm)
                && key.only.is_none_or(|only| only == KeyAlgorithm::from(algorithm))
                && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        self.keys.iter().filter(suits).map(|key| &key.decoding)
    }
}

impl Key {
    /// `None` for a key which cannot check a signature of an accepted algorithm.
    fn read(value: serde_json::Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(value).ok()?;
        let signs =
            key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
        let algorithms = algorithms(&key.algorithm)?;
        let decoding = DecodingKey::from_jwk(&key).ok()?;
        let (id, only) = (key.common.key_id, key.common.key_algorithm);
        signs.then_some(Self { id, algorithms, only, decoding })
    }
}

/// The accepted algorithms of this kind of key; `None` if there are none.
fn algorithms(kind: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    match kind {
        AlgorithmParameters::RSA(_) => Some(RSA),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(P256),
            EllipticCurve::P384 => Some(P384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => Some(ED25519),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn ed25519(id: &str) -> Value {
        // The public key of RFC 8037, appendix A.2.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
    }

    fn set(keys: &[Value]) -> Result<KeySet, FetchError> {
        KeySet::read(json!({"keys": keys}).to_string())
    }

    fn count(set: &KeySet, id: Option<&str>, algorithm: Algorithm) -> usize {
        set.candidates(id, algorithm).count()
    }

    #[test]
    fn a_key_is_found_by_its_id_for_its_algorithm_only() {
        let set = set(&[ed25519("a"), ed25519("b")]).unwrap();
        assert_eq!(count(&set, Some("a"), Algorithm::EdDSA), 1);
        assert_eq!(count(&set, None, Algorithm::EdDSA), 2);
        assert_eq!(count(&set, Some("c"), Algorithm::EdDSA), 0);
        for other in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
            assert_eq!(count(&set, Some("a"), other), 0, "{other:?}");
        }
    }

    #[test]
    fn keys_of_other_kinds_and_uses_are_left_out() {
        let mut encrypts = ed25519("encrypts");
        encrypts["use"] = json!("enc");
        let mut for_rsa = ed25519("for_rsa");
        for_rsa["alg"] = json!("RS256");
        let others = [
            json!({"kty": "oct", "kid": "secret", "k": "AAAA"}),
            json!({"kty": "EC", "crv": "P-521", "kid": "p521", "x": "AA", "y": "AA"}),
            json!({"kty": "new", "kid": "new"}),
            json!("no key"),
            json!(null),
        ];
        let set = set(&[&[encrypts, for_rsa, ed25519("good")], &others[..]].concat()).unwrap();
        assert_eq!(count(&set, None, Algorithm::EdDSA), 1);
        assert_eq!(count(&set, Some("good"), Algorithm::EdDSA), 1);
    }

    #[test]
    fn repeated_ids_keep_both_keys() {
        let set = set(&[ed25519("same"), ed25519("same")]).unwrap();
        assert_eq!(count(&set, Some("same"), Algorithm::EdDSA), 2);
    }

    #[test]
    fn a_set_without_a_usable_key_is_refused() {
        for text in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
            assert!(KeySet::read(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_first_keys_of_an_endless_set_are_read() {
        let keys: Vec<Value> = (0..1_000).map(|index| ed25519(&index.to_string())).collect();
        let set = set(&keys).unwrap();
        assert_eq!(count(&set, None, Algorithm::EdDSA), MAX_KEYS);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}", key in ".{0,40}") {
            let _ = KeySet::read(text.clone());
            let _ = set(&[json!({"kty": "RSA", "n": text, "e": key})]);
        }
    }
}
