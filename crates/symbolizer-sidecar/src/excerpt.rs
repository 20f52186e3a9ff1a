//! The part of a refusal that may be shown to admins.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

const MAX_CHARACTERS: usize = 300;
/// Longest body that is shown without being JSON.
const MAX_SENTENCE_BYTES: usize = 4 * 1024;
/// Members of a JSON object that may contain the reason, best first.
const EXPLAINING: [&str; 3] = ["error", "detail", "message"];
/// Replaces URLs and addresses.
const REDACTED: char = '…';

/// The reason in `body`, if there is one: on one line, cut, and without URLs, addresses and
/// directories.
pub(crate) fn excerpt(body: &[u8]) -> Option<String> {
    let text = str::from_utf8(body).ok()?.trim();
    let words = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => {
            EXPLAINING.iter().find_map(|name| object.get(*name)?.as_str())?.to_owned()
        }
        _ => sentence(text)?.to_owned(),
    };
    let printable: String =
        words.chars().filter(|c| c.is_whitespace() || is_printable(*c)).collect();
    let shown: Vec<_> = printable.split_whitespace().map(redact).collect();
    let shown = shown.join(" ");
    (!shown.is_empty()).then(|| cut(&shown))
}

/// Short text for people, neither markup nor binary.
fn sentence(text: &str) -> Option<&str> {
    let is_short = text.len() <= MAX_SENTENCE_BYTES && !text.starts_with('<');
    (is_short && text.chars().all(|c| c.is_whitespace() || is_printable(c))).then_some(text)
}

/// Neither a control character nor one that only changes how other characters look.
fn is_printable(character: char) -> bool {
    let is_formatting = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    );
    !character.is_control() && !is_formatting
}

/// Keeps the last part of a path, and nothing of a URL or an address.
fn redact(word: &str) -> String {
    if word.contains("://") {
        return REDACTED.into();
    }
    let path = word.match_indices('/').map(|(start, _)| start).find(|start| {
        !word.get(..*start).is_some_and(|before| before.ends_with(char::is_alphanumeric))
    });
    let named = path.and_then(|start| Some((word.get(..start)?, word.rsplit_once('/')?.1)));
    let word = named.map_or_else(|| word.to_owned(), |(before, name)| format!("{before}{name}"));
    if is_address(&word) { REDACTED.into() } else { word }
}

fn is_address(word: &str) -> bool {
    let may_be_part = |c: char| c.is_ascii_hexdigit() || ".:[]".contains(c);
    word.split(|c| !may_be_part(c)).any(|part| {
        let part = part.trim_matches('.');
        [part, part.strip_suffix(':').unwrap_or(part)]
            .iter()
            .any(|part| part.parse::<IpAddr>().is_ok() || part.parse::<SocketAddr>().is_ok())
    })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_CHARACTERS - 1).chain([REDACTED]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Option<String> {
        excerpt(body.as_bytes())
    }

    #[test]
    fn short_text_and_the_explaining_member_are_shown() {
        for (body, expected) in [
            ("no such chip\n", "no such chip"),
            (r#"{"error":"no such chip"}"#, "no such chip"),
            (r#"{"status":"error","detail":"bad\nELF"}"#, "bad ELF"),
            (r#"{"message":"m","detail":"d","error":"e"}"#, "e"),
            (r#"{"error":{"code":1},"message":"m"}"#, "m"),
            ("read 3 and/or 4 parts at 12:30", "read 3 and/or 4 parts at 12:30"),
        ] {
            assert_eq!(shown(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn markup_binary_and_bodies_without_a_reason_are_not_shown() {
        for body in ["", " \n", "<html>no</html>", "\u{1b}[31mred", "{}", r#"{"error":1}"#, "a\0b"]
        {
            assert_eq!(shown(body), None, "{body:?}");
        }
        assert_eq!(excerpt(b"caf\xe9"), None);
        assert_eq!(shown(&"long ".repeat(1000)), None);
    }

    #[test]
    fn what_is_shown_is_one_line_of_at_most_300_printable_characters() {
        let body = serde_json::json!({ "error": format!("a\u{0}\u{202e}\r\nb\u{7f} {}", "é".repeat(400)) });
        let shown = shown(&body.to_string()).unwrap();
        assert!(shown.starts_with("a b ééé") && shown.ends_with("é…"), "{shown}");
        assert_eq!(shown.chars().count(), 300);
    }

    #[test]
    fn directories_urls_and_addresses_are_left_out() {
        for (body, expected) in [
            ("'/xfer/in/coredump_17.dmp': not found", "'coredump_17.dmp': not found"),
            ("path=/xfer/a.elf, ../b/c.elf", "path=a.elf, ..c.elf"),
            ("see http://user:secret@host/x for help", "see … for help"),
            ("connect to (10.0.0.5:8080): refused", "connect to … refused"),
            ("host='10.0.0.5', no", "… no"),
            ("[::1]:80 and fe80::1: no", "… and … no"),
        ] {
            assert_eq!(shown(body).as_deref(), Some(expected), "{body}");
        }
    }
}
