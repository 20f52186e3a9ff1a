//! Row 9: `version.json`.

use coredock_domain::firmware::BundleError;
use coredock_domain::firmware::version_json::VersionJsonError;

use crate::{builder, open, refusal};

fn with_version_json(content: impl Into<Vec<u8>>) -> Vec<u8> {
    builder().version_json(content).build()
}

#[test]
fn version_json_may_have_every_encoding_of_the_contract() {
    let text = r#"{"git_commit":"abc","idf_version":5,"firmware_version":[],"more":null}"#;
    let units = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
    let (little, big): (Vec<u8>, Vec<u8>) = (units(u16::to_le_bytes), units(u16::to_be_bytes));
    let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
    let encodings = [
        text.as_bytes().to_vec(),
        marked(b"\xef\xbb\xbf", text.as_bytes()),
        marked(b"\xff\xfe", &little),
        marked(b"\xfe\xff", &big),
    ];
    for bytes in encodings {
        let opened = open(&with_version_json(bytes)).unwrap();
        assert_eq!(opened.facts().git_commit.as_deref(), Some("abc"));
        assert_eq!(opened.version().as_str(), "1.2.3");
    }
}

#[test]
fn each_fault_of_version_json_has_its_own_text() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let wrong: [(Vec<u8>, &str); 9] = [
        (b"".to_vec(), "not valid JSON"),
        (b"{".to_vec(), "not valid JSON"),
        (b"[1]".to_vec(), "must be a JSON object"),
        (b"5".to_vec(), "must be a JSON object"),
        (b"null".to_vec(), "must be a JSON object"),
        (b"{\"a\":\"\xff\"}".to_vec(), "neither UTF-8 nor UTF-16"),
        (b"\xff\xfe\x7b".to_vec(), "neither UTF-8 nor UTF-16"),
        // UTF-16 without a byte-order mark.
        (utf16("{}"), "not valid JSON"),
        ("[".repeat(100_000).into_bytes(), "not valid JSON"),
    ];
    for (content, expected) in wrong {
        let error = refusal(&with_version_json(content));
        assert!(matches!(error, BundleError::VersionJson(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn missing_members_of_version_json_are_listed_sorted() {
    let cases: [(&str, &[&str]); 3] = [
        ("{}", &["firmware_version", "git_commit", "idf_version"]),
        (r#"{"idf_version":1,"IDF_VERSION":2}"#, &["firmware_version", "git_commit"]),
        (r#"{"git_commit":null,"firmware_version":null}"#, &["idf_version"]),
    ];
    for (content, members) in cases {
        let error = refusal(&with_version_json(content));
        assert!(error.to_string().ends_with(&format!("lacks {}", members.join(", "))));
        let BundleError::VersionJson(VersionJsonError::Missing(missing)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(missing, members);
    }
}

#[test]
fn a_version_json_has_at_most_one_mebibyte() {
    let mut text = r#"{"git_commit":1,"idf_version":1,"firmware_version":1}"#.to_owned();
    text.push_str(&" ".repeat((1 << 20) - text.len()));
    open(&with_version_json(text.clone())).unwrap();
    let error = refusal(&with_version_json(text + " "));
    assert!(matches!(error, BundleError::VersionJsonTooLong));
    assert!(error.to_string().contains("1048576"));
}

#[test]
fn the_version_of_version_json_decides_nothing() {
    for version in [r#""9.9.9""#, "null", r#""../../x""#, "[[]]"] {
        let text = format!(r#"{{"git_commit":1,"idf_version":1,"firmware_version":{version}}}"#);
        assert_eq!(open(&with_version_json(text)).unwrap().version().as_str(), "1.2.3");
    }
}
