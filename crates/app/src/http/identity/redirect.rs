//! Where a browser may be sent after sign-in and sign-out (contract §3.7).

use crate::http::request::sites::same_origin;

/// It travels to the provider and back within a URL, whose length servers limit.
const MAX_BYTES: usize = 2048;

/// The target as it was sent; `None` unless it is a page of this installation. A page of another
/// site would make Coredock the first link of a deception.
pub(super) fn accepted<'a>(target: &'a str, base_url: &str) -> Option<&'a str> {
    let is_plain = |byte: u8| (0x21..=0x7E).contains(&byte) && byte != b'\\';
    if target.len() > MAX_BYTES || !target.bytes().all(is_plain) {
        return None;
    }
    let is_path = target.starts_with('/') && !target.starts_with("//");
    // Browsers take `https:/host` and `https:host` for URLs with a host as well.
    let is_url = target.contains("://") && same_origin(target, base_url);
    (is_path || is_url).then_some(target)
}

/// The absolute URL of an accepted target.
pub(super) fn absolute(target: &str, base_url: &str) -> String {
    if target.starts_with('/') { format!("{base_url}{target}") } else { target.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://fleet.example";

    #[test]
    fn own_pages_are_accepted() {
        for target in [
            "/",
            "/devices?page=2#top",
            "/a%20b",
            "/a//b",
            "https://fleet.example",
            "https://fleet.example/devices",
            "https://fleet.example:443/",
            "HTTPS://FLEET.example/x",
        ] {
            assert_eq!(accepted(target, BASE), Some(target), "{target}");
        }
        assert_eq!(absolute("/devices", BASE), "https://fleet.example/devices");
        assert_eq!(absolute("https://fleet.example/x", BASE), "https://fleet.example/x");
    }

    #[test]
    fn everything_else_is_refused() {
        for target in [
            "",
            "devices",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a b",
            "/\u{e9}",
            "\\\\evil.example",
            "https://evil.example",
            "https://fleet.example.evil",
            "https://fleet.example:8443/",
            "http://fleet.example/",
            "https://fleet.example@evil.example/",
            "https://user@fleet.example/",
            "https://:x@fleet.example/",
            "https:fleet.example",
            "https:/fleet.example",
            "javascript:alert(1)",
            "javascript://fleet.example/%0aalert(1)",
            "data:text/html,x",
            &format!("/{}", "a".repeat(MAX_BYTES)),
        ] {
            assert_eq!(accepted(target, BASE), None, "{target}");
        }
    }
}
