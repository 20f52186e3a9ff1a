//! The settings of S3, and the addresses derived from them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;

/// Settings of S3 (contract §13), not yet checked.
#[derive(Clone)]
pub struct S3Options {
    /// `S3_ENDPOINT_URL`: the server; AWS when unset.
    pub endpoint: Option<String>,
    /// `S3_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `S3_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<String>,
    /// `S3_BUCKET_NAME`.
    pub bucket: String,
    /// `S3_REGION`.
    pub region: String,
    /// `S3_USE_SSL`: matters only for an endpoint without scheme.
    pub use_ssl: bool,
    /// `S3_FORCE_PATH_STYLE`: the bucket is part of the path, not of the host name.
    pub force_path_style: bool,
    /// `S3_TIMEOUT_SECONDS`: how long a connection, the first byte of an answer and any later byte
    /// in either direction may take. A whole transfer may take longer.
    pub timeout: Duration,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.secret_access_key.as_ref().map(|_| "(hidden)");
        formatter
            .debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &hidden)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("use_ssl", &self.use_ssl)
            .field("force_path_style", &self.force_path_style)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// The settings of S3 cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    #[error("{name} {problem}")]
    Setting {
        /// Name of the environment variable.
        name: &'static str,
        /// The rest of a sentence that begins with the name.
        problem: &'static str,
    },
    /// TLS could not be set up.
    #[error("the HTTP client for S3 could not be set up")]
    Client(#[source] reqwest::Error),
    /// The settings contradict each other.
    #[error("the S3 client rejected the S3_* settings")]
    Store(#[source] object_store::Error),
}

/// Where the bucket is, and the credentials for it.
pub(crate) struct Address {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) path_style: bool,
    /// The server, without a slash at its end.
    pub(crate) server: String,
    /// The server as `object_store` wants it: with the bucket in its name unless that is in the
    /// path.
    pub(crate) endpoint: String,
    /// Of the bucket, without a slash at its end.
    pub(crate) bucket_url: String,
}

impl S3Options {
    /// Checks the settings, as far as that is possible without a connection.
    pub fn check(&self) -> Result<(), OpenStoreError> {
        self.address().map(drop)
    }

    pub(crate) fn address(&self) -> Result<Address, OpenStoreError> {
        let access_key_id = required("S3_ACCESS_KEY_ID", self.access_key_id.as_deref())?;
        let secret_access_key =
            required("S3_SECRET_ACCESS_KEY", self.secret_access_key.as_deref())?;
        check_name("S3_BUCKET_NAME", &self.bucket)?;
        check_name("S3_REGION", &self.region)?;
        if self.timeout.is_zero() {
            return Err(wrong("S3_TIMEOUT_SECONDS", "must be at least 1"));
        }
        let server = self.server()?;
        let origin = |server: &Url| server.as_str().trim_end_matches('/').to_owned();
        let plain = origin(&server);
        let in_path = format!("{plain}/{}", self.bucket);
        let (endpoint, bucket_url) = if self.force_path_style {
            (plain.clone(), in_path)
        } else {
            let in_host = origin(&self.with_bucket_in_host(server)?);
            (in_host.clone(), in_host)
        };
        Ok(Address {
            access_key_id,
            secret_access_key,
            path_style: self.force_path_style,
            server: plain,
            endpoint,
            bucket_url,
        })
    }

    fn server(&self) -> Result<Url, OpenStoreError> {
        const NAME: &str = "S3_ENDPOINT_URL";
        let text = match self.endpoint.as_deref() {
            None => aws(&self.region),
            Some(endpoint) if endpoint.contains("://") => endpoint.to_owned(),
            Some(host) if self.use_ssl => format!("https://{host}"),
            Some(host) => format!("http://{host}"),
        };
        let Ok(url) = Url::parse(&text) else { return Err(wrong(NAME, "is not a URL")) };
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(wrong(NAME, "must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(NAME, "must not contain credentials: use S3_ACCESS_KEY_ID"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(NAME, "must not have a path: the bucket is set by S3_BUCKET_NAME"));
        }
        Ok(url)
    }

    fn with_bucket_in_host(&self, mut server: Url) -> Result<Url, OpenStoreError> {
        let name = "S3_FORCE_PATH_STYLE";
        let host = server.host_str().unwrap_or_default().to_owned();
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(wrong(name, "must be true when the endpoint is an IP address"));
        }
        match server.set_host(Some(&format!("{}.{host}", self.bucket))) {
            Ok(()) => Ok(server),
            Err(_) => Err(wrong(name, "must be true: S3_BUCKET_NAME cannot be in a host name")),
        }
    }
}

fn aws(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{suffix}")
}

fn wrong(name: &'static str, problem: &'static str) -> OpenStoreError {
    OpenStoreError::Setting { name, problem }
}

fn required(name: &'static str, value: Option<&str>) -> Result<String, OpenStoreError> {
    let value = value.filter(|value| !value.is_empty()).ok_or(wrong(name, "is not set"))?;
    if value.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err(wrong(name, "must not contain spaces or control characters"));
    }
    Ok(value.to_owned())
}

/// Names become part of URLs. Servers are stricter, each in a different way.
fn check_name(name: &'static str, value: &str) -> Result<(), OpenStoreError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let plain = value.starts_with(|first: char| first.is_ascii_alphanumeric());
    if plain && value.len() <= 63 && value.bytes().all(known) {
        return Ok(());
    }
    Err(wrong(name, "must be up to 63 letters, digits, hyphens, dots and underscores"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn options() -> S3Options {
        S3Options {
            endpoint: Some("http://store.test:9000/".to_owned()),
            access_key_id: Some("key".to_owned()),
            secret_access_key: Some("very secret".replace(' ', "-")),
            bucket: "things".to_owned(),
            region: "us-east-1".to_owned(),
            use_ssl: false,
            force_path_style: true,
            timeout: Duration::from_secs(1),
        }
    }

    fn bucket_url(options: &S3Options) -> String {
        options.address().unwrap_or_else(|error| panic!("{error}")).bucket_url
    }

    #[test]
    fn addresses_follow_from_the_settings() {
        assert_eq!(bucket_url(&options()), "http://store.test:9000/things");
        let in_host = S3Options { force_path_style: false, ..options() };
        assert_eq!(bucket_url(&in_host), "http://things.store.test:9000");
        let endpoint = Some("store.test:9000".to_owned());
        let bare = S3Options { endpoint, ..options() };
        assert_eq!(bucket_url(&bare), "http://store.test:9000/things");
        let secure = S3Options { use_ssl: true, ..bare };
        assert_eq!(bucket_url(&secure), "https://store.test:9000/things");
        let amazon = S3Options { endpoint: None, force_path_style: false, ..options() };
        assert_eq!(bucket_url(&amazon), "https://things.s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn faults_name_the_setting() {
        let endpoint = |text: &str| S3Options { endpoint: Some(text.to_owned()), ..options() };
        let cases = [
            (S3Options { access_key_id: None, ..options() }, "S3_ACCESS_KEY_ID is not set"),
            (
                S3Options { secret_access_key: Some(String::new()), ..options() },
                "S3_SECRET_ACCESS_KEY is not set",
            ),
            (S3Options { bucket: "a/b".to_owned(), ..options() }, "S3_BUCKET_NAME must be"),
            (S3Options { region: String::new(), ..options() }, "S3_REGION must be"),
            (S3Options { timeout: Duration::ZERO, ..options() }, "S3_TIMEOUT_SECONDS must be"),
            (endpoint("ftp://store.test"), "S3_ENDPOINT_URL must begin with"),
            (endpoint("http://"), "S3_ENDPOINT_URL is not a URL"),
            (endpoint("http://a:b@store.test"), "S3_ENDPOINT_URL must not contain credentials"),
            (endpoint("http://store.test/path"), "S3_ENDPOINT_URL must not have a path"),
            (
                S3Options { force_path_style: false, ..endpoint("http://127.0.0.1:9000") },
                "S3_FORCE_PATH_STYLE must be true",
            ),
        ];
        for (options, expected) in cases {
            let error = options.address().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(expected), "{error}: not {expected}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(!format!("{:?}", options()).contains("very-secret"));
    }
}
