//! A browser without pages: it follows redirects and keeps cookies.

use std::collections::BTreeMap;

use reqwest::{Method, Url};

use super::{Answer, TestServer};

/// `BASEURL` of the servers which browsers visit. No name server knows it: requests for it are sent
/// to the server itself.
pub(crate) const BASE_URL: &str = "http://coredock.test";

pub(crate) struct Browser<'a> {
    server: &'a TestServer,
    /// Cookies by host and name.
    cookies: BTreeMap<(String, String), String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(server: &'a TestServer) -> Self {
        Self { server, cookies: BTreeMap::new() }
    }

    /// One request of a page or a script.
    pub(crate) async fn send(&mut self, method: Method, url: &Url) -> Answer {
        let host = host(url);
        let mut target = url.clone();
        if url.as_str().starts_with(BASE_URL) {
            target = Url::parse(&format!("http://{}", self.server.authority())).unwrap();
            target.set_path(url.path());
            target.set_query(url.query());
        }
        let request = self.server.request_to(method, target.as_str());
        let cookies: Vec<_> = self.cookies.iter().filter(|((of, _), _)| *of == host).collect();
        let cookies: Vec<_> =
            cookies.iter().map(|((_, name), value)| format!("{name}={value}")).collect();
        let answer = self.server.send(request.header("cookie", cookies.join("; "))).await;
        for line in answer.headers.get_all("set-cookie") {
            self.store(&host, line.to_str().unwrap());
        }
        answer
    }

    fn store(&mut self, host: &str, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let key = (host.to_owned(), name.trim().to_owned());
        let is_over = attributes.to_ascii_lowercase().contains("max-age=0")
            || attributes.contains("01 Jan 1970");
        if is_over {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }

    /// `GET` of a path of Coredock.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, &own(path)).await
    }

    /// Visits a path of Coredock and follows all redirects, until one leads to a path that begins
    /// with `until`, which is not visited.
    pub(crate) async fn visit(&mut self, path: &str, until: &str) -> String {
        let mut url = own(path);
        for _ in 0..10 {
            let answer = self.send(Method::GET, &url).await;
            assert!((300..400).contains(&answer.status), "{url}: {answer:?}");
            url = url.join(answer.header("location")).unwrap();
            if url.as_str().starts_with(&format!("{BASE_URL}{until}")) {
                return url.as_str()[BASE_URL.len()..].to_owned();
            }
        }
        panic!("more than ten redirects, the last to {url}");
    }

    /// Signs the default account of the provider in.
    pub(crate) async fn sign_in(&mut self) {
        let callback = self.visit("/api/auth/login?redirect=/devices", "/api/auth/callback").await;
        let answer = self.get(&callback).await.expect(302);
        assert_eq!(answer.header("location"), "/devices");
    }

    /// A cookie of Coredock.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(&("coredock.test".to_owned(), name.to_owned())).map(String::as_str)
    }

    /// Sets a cookie of Coredock.
    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(("coredock.test".to_owned(), name.to_owned()), value.to_owned());
    }

    /// Removes a cookie of Coredock.
    pub(crate) fn drop_cookie(&mut self, name: &str) {
        self.cookies.remove(&("coredock.test".to_owned(), name.to_owned()));
    }
}

fn own(path: &str) -> Url {
    Url::parse(&format!("{BASE_URL}{path}")).unwrap()
}

fn host(url: &Url) -> String {
    url.host_str().unwrap().to_owned()
}
