//! Where a request comes from: its peer, or what trusted proxies say (contract §1.8).

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use actix_web::web::Data;
use ipnet::IpNet;

/// The proxies whose forwarded headers count.
#[derive(Debug)]
pub struct TrustedProxies {
    /// How many of the last entries are trusted (`TRUSTED_PROXY_HOPS`).
    hops: usize,
    /// Peers that are proxies (`TRUSTED_PROXIES`).
    networks: Vec<IpNet>,
    /// One warning is enough for what every request of a wrong setup causes.
    has_warned: AtomicBool,
}

impl TrustedProxies {
    pub const fn new(hops: usize, networks: Vec<IpNet>) -> Self {
        Self { hops, networks, has_warned: AtomicBool::new(false) }
    }

    /// The entry that the outermost trusted proxy wrote; `None` if none counts.
    fn forwarded<'a>(&self, peer: IpAddr, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let entries: Vec<&str> = headers
            .get_all(name)
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            // What the caller wrote may be no text; what the proxy appends to it is.
            .map(|entry| std::str::from_utf8(entry).unwrap_or_default().trim())
            .collect();
        if self.hops == 0 || entries.is_empty() {
            return None;
        }
        if !self.networks.iter().any(|network| network.contains(&peer.to_canonical())) {
            self.warn(peer);
            return None;
        }
        Some(entries[entries.len().saturating_sub(self.hops)])
    }

    fn warn(&self, peer: IpAddr) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "forwarded headers of {peer} are ignored, because it is not in TRUSTED_PROXIES; this \
                 is logged once"
            );
        }
    }
}

/// The address of the caller: what the outermost trusted proxy wrote, else the peer. `None` only
/// for requests that came over no connection.
pub fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let trusted = request.app_data::<Data<TrustedProxies>>();
    let written = trusted.and_then(|trusted| {
        trusted.forwarded(peer, request.headers(), "x-forwarded-for")?.parse().ok()
    });
    Some(written.unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn address(hops: usize, peer: &str, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = HeaderName::from_static("x-forwarded-for");
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let trusted = TrustedProxies::new(hops, networks);
        trusted.forwarded(peer.parse().unwrap(), &headers, "x-forwarded-for").map(str::to_owned)
    }

    #[test]
    fn the_outermost_trusted_proxy_names_the_caller() {
        assert_eq!(address(1, "10.1.1.1", &["1.1.1.1, 2.2.2.2"]).unwrap(), "2.2.2.2");
        assert_eq!(address(2, "10.1.1.1", &["1.1.1.1", "2.2.2.2"]).unwrap(), "1.1.1.1");
        assert_eq!(address(5, "::1", &["1.1.1.1, 2.2.2.2"]).unwrap(), "1.1.1.1");
        assert_eq!(address(1, "::ffff:10.1.1.1", &["1.1.1.1"]).unwrap(), "1.1.1.1");
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(address(1, "11.1.1.1", &["1.1.1.1"]), None);
        assert_eq!(address(0, "10.1.1.1", &["1.1.1.1"]), None);
        assert_eq!(address(1, "10.1.1.1", &[]), None);
    }
}
