//! Identifiers which several features use.

use std::fmt;

use crate::clock::{Entropy, random_id};

/// The code of a model: 1–50 characters `a-z0-9_` (contract §8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelCode(String);

impl ModelCode {
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        ((1..=50).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The version text of a firmware image, the identity of a build for devices.
///
/// It has 1–32 bytes, no `/`, `\` or control character and no leading `.`, as adopted data may have
/// it (contract §12.4). The version of an upload must match the stricter [`VersionText::PATTERN`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionText(String);

impl VersionText {
    /// The pattern of uploads (contract §5.3#13).
    pub const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$";

    /// Parses a stored text.
    pub fn parse(text: &str) -> Option<Self> {
        let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\');
        let allowed =
            (1..=32).contains(&text.len()) && !text.starts_with('.') && !text.contains(forbidden);
        allowed.then(|| Self(text.to_owned()))
    }

    /// Parses the version of an upload; `None` when it does not match [`VersionText::PATTERN`].
    pub fn of_upload(text: &str) -> Option<Self> {
        let body = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let matches = (1..=32).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(body);
        matches.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The key of a device: 8 characters `a-z0-9` (contract §0.3). New keys are lower-case Base32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(String);

impl DeviceKey {
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
        (text.len() == 8 && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// A new key from 5 random bytes.
    pub fn random(entropy: &dyn Entropy) -> Self {
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes[3..]);
        let bits = u64::from_be_bytes(bytes);
        let digit = |index: u32| char::from(BASE32[(bits >> (35 - 5 * index) & 31) as usize]);
        Self((0..8).map(digit).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The owner of leases: a new one for each claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOwner(String);

impl LeaseOwner {
    /// Accepts 1–64 characters `0-9a-f`.
    pub fn parse(text: &str) -> Option<Self> {
        is_short_hex(text).then(|| Self(text.to_owned()))
    }

    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random_id(entropy))
    }

    /// A random one has 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One upload. It is the owner of its leases, and its staged objects are under
/// `staging/{upload_id}/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// Accepts 1–64 characters `0-9a-f`.
    pub fn parse(text: &str) -> Option<Self> {
        is_short_hex(text).then(|| Self(text.to_owned()))
    }

    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random_id(entropy))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One server process, in the key of its health probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// Accepts 1–64 characters `0-9a-f`.
    pub fn parse(text: &str) -> Option<Self> {
        is_short_hex(text).then(|| Self(text.to_owned()))
    }

    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random_id(entropy))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_short_hex(text: &str) -> bool {
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex && (1..=64).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_code_has_only_lower_case_letters_digits_and_underscores() {
        assert!(ModelCode::parse("esp32_c3").is_some());
        assert!(ModelCode::parse(&"a".repeat(50)).is_some());
        for bad in ["", "Abc", "a-b", "abc\n", " abc", &"a".repeat(51)] {
            assert!(ModelCode::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn uploads_match_the_pattern() {
        for good in ["1", "1.0.0+5", "v1.2-rc.1_x", &"a".repeat(32)] {
            assert!(VersionText::of_upload(good).is_some(), "{good:?}");
        }
        for bad in ["", "1.0 0", "../../x", "a/b", ".1", "-1", "1\u{7}", "ü", &"a".repeat(33)] {
            assert!(VersionText::of_upload(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn stored_versions_can_be_path_segments() {
        assert!(VersionText::parse("1.0 legacy").is_some());
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
            assert!(VersionText::parse(bad).is_none(), "{bad:?}");
        }
    }

    struct Fixed([u8; 5]);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }

    #[test]
    fn new_keys_are_base32_of_five_bytes() {
        // RFC 4648 §10: "fooba" encodes as MZXW6YTB.
        assert_eq!(DeviceKey::random(&Fixed(*b"fooba")).as_str(), "mzxw6ytb");
    }

    #[test]
    fn keys_have_eight_lower_case_letters_or_digits() {
        assert!(DeviceKey::parse("abcd2345").is_some());
        for bad in ["", "abcd234", "abcd23456", "ABCD2345", "abcd234\n", "abcd-345"] {
            assert!(DeviceKey::parse(bad).is_none(), "{bad:?}");
        }
    }
}
