//! The URLs of the sidecar.

use reqwest::Url;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// An unusable configuration of the sidecar. No text repeats a part of the URL, which may contain a
/// password.
#[derive(Debug, thiserror::Error)]
pub enum SidecarSetupError {
    #[error("the URL of the symbolizer sidecar cannot be read")]
    UnreadableUrl {
        #[source]
        source: Fault,
    },
    /// A URL which cannot be that of a sidecar.
    #[error("the URL of the symbolizer sidecar {fault}")]
    UnusableUrl { fault: &'static str },
    /// The system lacks something that an HTTP client needs, such as certificates for an `https`
    /// URL.
    #[error("the HTTP client for the symbolizer sidecar could not be set up")]
    Client {
        #[source]
        source: Fault,
    },
}

pub(crate) struct Endpoint {
    /// Every sidecar answers here, so it shows whether a sidecar is running.
    root: Url,
    call: Url,
}

impl Endpoint {
    /// Accepts `http` and `https`, with or without a path; a trailing `/` makes no difference.
    pub(crate) fn parse(text: &str) -> Result<Self, SidecarSetupError> {
        let url = Url::parse(text)
            .map_err(|error| SidecarSetupError::UnreadableUrl { source: error.into() })?;
        let unusable = |fault| SidecarSetupError::UnusableUrl { fault };
        if !["http", "https"].contains(&url.scheme()) {
            return Err(unusable("must start with http:// or https://"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unusable("must have no query and no fragment"));
        }
        let below = |name| below(&url, name).ok_or_else(|| unusable("must have a host"));
        Ok(Self { root: below("")?, call: below("parse-coredump")? })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.root.scheme() == "https"
    }

    pub(crate) fn root(&self) -> Url {
        self.root.clone()
    }

    /// The URL of the call for files of these names (contract §6.11).
    pub(crate) fn call(&self, core: &str, elf: &str, chip: &str) -> Url {
        let mut url = self.call.clone();
        let pairs = [("core", core), ("elf", elf), ("chip", chip)];
        url.query_pairs_mut().extend_pairs(pairs);
        // Not every server decodes `+` as a space, so a space is `%20`. A real `+` is escaped
        // already.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
        url
    }
}

fn below(url: &Url, name: &str) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(name);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(base: &str, chip: &str) -> String {
        Endpoint::parse(base).unwrap().call("coredump_1.dmp", "demo-1.elf", chip).into()
    }

    #[test]
    fn a_trailing_slash_of_the_url_makes_no_difference() {
        let query = "core=coredump_1.dmp&elf=demo-1.elf&chip=esp32s3";
        for (base, expected) in [
            ("http://sidecar", "http://sidecar/parse-coredump"),
            ("http://sidecar/", "http://sidecar/parse-coredump"),
            ("https://sidecar:8443/tools", "https://sidecar:8443/tools/parse-coredump"),
            ("https://sidecar:8443/tools/", "https://sidecar:8443/tools/parse-coredump"),
        ] {
            assert_eq!(call(base, "esp32s3"), format!("{expected}?{query}"));
        }
        assert_eq!(Endpoint::parse("http://a/b").unwrap().root().as_str(), "http://a/b/");
        assert_eq!(Endpoint::parse("http://a").unwrap().root().as_str(), "http://a/");
    }

    #[test]
    fn values_cannot_leave_their_parameter() {
        let url = call("http://sidecar", "a b+c&core=d#e/é%41");
        let query = url.split_once("&chip=").unwrap().1;
        assert_eq!(query, "a%20b%2Bc%26core%3Dd%23e%2F%C3%A9%2541");
    }

    #[test]
    fn an_unusable_url_is_refused_without_repeating_it() {
        for (bad, expected) in [
            ("", "cannot be read"),
            ("sidecar", "cannot be read"),
            ("http://", "cannot be read"),
            ("http://user:secret@:80", "cannot be read"),
            ("sidecar:8080", "must start with http:// or https://"),
            ("ftp://secret", "must start with http:// or https://"),
            ("file:///secret", "must start with http:// or https://"),
            ("http://sidecar?secret", "must have no query"),
            ("http://sidecar/#secret", "must have no query"),
        ] {
            let message = Endpoint::parse(bad).err().unwrap().to_string();
            assert!(message.contains(expected), "{bad}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
