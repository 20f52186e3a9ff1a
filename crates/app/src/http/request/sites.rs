//! Which web pages may make a browser send requests (contract §3.6, §3.7).

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use url::Url;

use super::error::{ApiError, ApiResult, ErrorCode};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The sites of an installation.
#[derive(Debug, Clone)]
pub struct Sites {
    /// `BASEURL`
    pub base_url: String,
    /// `PIPELINE_BASEURL`
    pub pipeline_base_url: Option<String>,
    /// `CORS_ORIGINS`
    pub cors_origins: Vec<String>,
    /// `ALLOW_INSECURE`
    pub allow_insecure: bool,
}

impl Sites {
    /// Checks a request to a server without authentication. Any page that a user visits can reach a
    /// loopback address: by a name that resolves to it, or by a request that needs no permission.
    pub fn check_unauthenticated(&self, request: &HttpRequest) -> ApiResult<()> {
        let host = text(request, &header::HOST);
        if !self.allow_insecure && host.is_some_and(|host| !self.is_own_host(host)) {
            let message = "without authentication, Host must be a loopback address, localhost, or \
                           the host of BASEURL or PIPELINE_BASEURL";
            return Err(ApiError::new(ErrorCode::AuthorizationFailed, message));
        }
        if request.method().is_safe() {
            return Ok(());
        }
        if text(request, &SEC_FETCH_SITE) == Some("cross-site") {
            return Err(foreign_origin());
        }
        self.check_origin(request)
    }

    /// Checks a request that is authenticated by a cookie, which browsers add by themselves.
    pub fn check_cookie(&self, request: &HttpRequest) -> ApiResult<()> {
        if request.method().is_safe() { Ok(()) } else { self.check_origin(request) }
    }

    fn check_origin(&self, request: &HttpRequest) -> ApiResult<()> {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let own = text(request, &header::HOST);
        let is_known = own.is_some_and(|host| authority(origin) == Some(host))
            || same_origin(origin, &self.base_url)
            || self.cors_origins.iter().any(|known| known == origin);
        if is_known { Ok(()) } else { Err(foreign_origin()) }
    }

    fn is_own_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let is_loopback = name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let urls = [Some(&self.base_url), self.pipeline_base_url.as_ref()];
        let mut hosts = urls.into_iter().flatten().filter_map(|url| authority(url));
        is_loopback
            || name.eq_ignore_ascii_case("localhost")
            || hosts.any(|own| without_port(own).eq_ignore_ascii_case(name))
    }
}

fn foreign_origin() -> ApiError {
    let message = "a page of another origin may not send this request";
    ApiError::new(ErrorCode::AuthorizationFailed, message)
}

/// A header as text; an unreadable one is empty, which nothing equals.
fn text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).map(|value| value.to_str().unwrap_or_default())
}

/// `host[:port]` of a URL with nothing before it.
fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (!authority.is_empty() && !authority.contains('@')).then_some(authority)
}

/// Whether two URLs have the same scheme, host and port, and the first names no user.
pub fn same_origin(url: &str, base_url: &str) -> bool {
    let (Ok(url), Ok(base)) = (Url::parse(url), Url::parse(base_url)) else { return false };
    url.origin().is_tuple()
        && url.origin() == base.origin()
        && url.username().is_empty()
        && url.password().is_none()
}

/// The host of `host[:port]`, without the brackets of an `IPv6` address.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;

    use super::*;

    fn sites() -> Sites {
        Sites {
            base_url: "https://fleet.example".into(),
            pipeline_base_url: Some("http://ci.example:8080".into()),
            cors_origins: vec!["http://localhost:3100".into()],
            allow_insecure: false,
        }
    }

    fn request(method: Method, lines: &[(&str, &str)]) -> HttpRequest {
        let add = |request: TestRequest, (name, value): &(&str, &str)| {
            request.insert_header(((*name).to_owned(), (*value).to_owned()))
        };
        lines.iter().fold(TestRequest::default().method(method), add).to_http_request()
    }

    #[test]
    fn only_own_hosts_are_served_without_authentication() {
        let check = |host| sites().check_unauthenticated(&request(Method::GET, &[("host", host)]));
        for host in [
            "localhost",
            "localhost:3101",
            "LOCALHOST",
            "127.0.0.1:3101",
            "127.9.9.9",
            "[::1]:3101",
            "fleet.example",
            "fleet.example:443",
            "ci.example",
        ] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "fleet.example.evil",
            "::1",
            "user@localhost",
        ] {
            assert!(check(host).is_err(), "{host}");
        }
        assert!(sites().check_unauthenticated(&request(Method::GET, &[])).is_ok());
        let insecure = Sites { allow_insecure: true, ..sites() };
        let foreign = request(Method::GET, &[("host", "10.0.0.1")]);
        assert!(insecure.check_unauthenticated(&foreign).is_ok());
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let check = |method, lines: &[(&str, &str)]| {
            let lines = [&[("host", "localhost:3101")], lines].concat();
            sites().check_unauthenticated(&request(method, &lines)).is_ok()
        };
        for origin in ["http://localhost:3101", "http://localhost:3100", "https://fleet.example"] {
            assert!(check(Method::POST, &[("origin", origin)]), "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:9999",
            "http://fleet.example",
            "https://fleet.example@evil.example",
            "",
        ] {
            assert!(!check(Method::POST, &[("origin", origin)]), "{origin}");
            assert!(!check(Method::DELETE, &[("origin", origin)]), "{origin}");
            assert!(check(Method::GET, &[("origin", origin)]), "{origin}");
        }
        assert!(!check(Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(check(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(check(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(check(Method::POST, &[]));
    }
}
