//! Version texts.

use std::fmt;

/// The version text of a firmware image, the identity of a build for devices.
///
/// A *held* text has 1–32 bytes, no `/`, `\` or control character and no leading `.`, which is what
/// adopted data may have (contract §12.4); an *uploaded* one is held to the pattern of
/// contract §5.3#13.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionText(String);

impl VersionText {
    /// The pattern uploads must match (contract §5.3#13).
    pub const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$";

    /// Reads a held text; `None` when it can be none.
    pub fn parse(text: &str) -> Option<Self> {
        let foreign = |c: char| c.is_control() || matches!(c, '/' | '\\');
        let held =
            (1..=32).contains(&text.len()) && !text.starts_with('.') && !text.contains(foreign);
        held.then(|| Self(text.to_owned()))
    }

    /// Reads the text of an image about to be published; `None` when it misses the pattern.
    pub fn of_upload(text: &str) -> Option<Self> {
        let body = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let matches = (1..=32).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(body);
        matches.then(|| Self(text.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn held_texts_can_be_path_segments() {
        assert!(VersionText::parse("1.0 legacy").is_some());
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
            assert!(VersionText::parse(bad).is_none(), "{bad:?}");
        }
    }
}
