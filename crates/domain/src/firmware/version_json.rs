//! `version.json` of a bundle (contract §5.1).

use serde_json::{Map, Value};

/// A larger file is refused: it has three short texts.
pub const MAX_VERSION_JSON_BYTES: u64 = 1024 * 1024;

/// The members of a `version.json` that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionJson {
    /// `None` when it is not a text of at most 64 printable characters.
    pub git_commit: Option<String>,
    /// Only compared with the version of the image, which counts.
    pub firmware_version: Value,
}

/// Why a `version.json` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionJsonError {
    #[error("version.json is neither UTF-8 nor UTF-16 with a byte-order mark")]
    Encoding,
    #[error("version.json is not valid JSON: {0}")]
    Syntax(String),
    #[error("version.json must be a JSON object")]
    NotAnObject,
    #[error("version.json lacks {}", .0.join(", "))]
    Missing(Vec<&'static str>),
}

impl VersionJson {
    pub fn parse(bytes: &[u8]) -> Result<Self, VersionJsonError> {
        let text = decode(bytes).ok_or(VersionJsonError::Encoding)?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| VersionJsonError::Syntax(error.to_string()))?;
        let Value::Object(members) = value else { return Err(VersionJsonError::NotAnObject) };
        let missing: Vec<_> = ["firmware_version", "git_commit", "idf_version"]
            .into_iter()
            .filter(|name| !members.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(VersionJsonError::Missing(missing));
        }
        let git_commit = printable_commit(&members);
        let firmware_version = members["firmware_version"].clone();
        Ok(Self { git_commit, firmware_version })
    }
}

fn printable_commit(members: &Map<String, Value>) -> Option<String> {
    let commit = members.get("git_commit")?.as_str()?;
    let printable = !commit.chars().any(char::is_control);
    (printable && commit.chars().count() <= 64).then(|| commit.to_owned())
}

fn decode(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xFF, 0xFE, utf16 @ ..] => decode_utf16(utf16, u16::from_le_bytes),
        [0xFE, 0xFF, utf16 @ ..] => decode_utf16(utf16, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, utf8 @ ..] | utf8 => String::from_utf8(utf8.to_vec()).ok(),
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    rest.is_empty().then(|| String::from_utf16(&units).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"git_commit":"abc","idf_version":5,"firmware_version":"1.2.3","x":[]}"#;

    #[test]
    fn every_allowed_encoding_is_accepted() {
        let little: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let encodings = [
            GOOD.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", GOOD.as_bytes()].concat(),
            [b"\xFF\xFE".as_slice(), &little].concat(),
            [b"\xFE\xFF".as_slice(), &big].concat(),
        ];
        for bytes in encodings {
            assert_eq!(VersionJson::parse(&bytes).unwrap().git_commit.as_deref(), Some("abc"));
        }
    }

    #[test]
    fn a_commit_that_is_not_a_short_printable_text_is_left_out() {
        for commit in ["5", "null", "\"a\\nb\"", &format!("\"{}\"", "a".repeat(65))] {
            let text =
                format!(r#"{{"git_commit":{commit},"idf_version":"v5","firmware_version":"1"}}"#);
            assert_eq!(VersionJson::parse(text.as_bytes()).unwrap().git_commit, None, "{commit}");
        }
    }

    #[test]
    fn each_fault_has_its_own_error() {
        assert_eq!(VersionJson::parse(b"\"\xff\""), Err(VersionJsonError::Encoding));
        assert_eq!(VersionJson::parse(b"\xff\xfe{"), Err(VersionJsonError::Encoding));
        assert_eq!(VersionJson::parse(b"[]"), Err(VersionJsonError::NotAnObject));
        assert_eq!(VersionJson::parse(b"5"), Err(VersionJsonError::NotAnObject));
        assert!(matches!(VersionJson::parse(b"{"), Err(VersionJsonError::Syntax(_))));
        assert_eq!(
            VersionJson::parse(br#"{"git_commit":"a"}"#),
            Err(VersionJsonError::Missing(vec!["firmware_version", "idf_version"]))
        );
    }
}
