//! The cookies of a browser session (contract §3.7).

use std::time::Duration;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpMessage, HttpRequest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coredock_domain::identity::sessions::LOGIN_LIFE;
use coredock_domain::identity::sign_in::SessionTokens;
use coredock_domain::timestamp::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::CookieConfig;

/// Of a refresh token whose end cannot be read (contract §3.7).
const OPAQUE_LIFE: Duration = Duration::from_hours(30 * 24);
const ID_TOKEN: &str = "id_token";
/// What a value must not contain (RFC 6265 §4.1.1), and `%`, so that decoding gives the value back.
const NOT_IN_VALUES: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// The cookies of a session, on requests and answers.
#[derive(Debug, Clone)]
pub struct SessionCookies(pub CookieConfig);

/// `Set-Cookie` lines of the answer, collected while a request is admitted and handled.
#[derive(Debug, Default)]
struct NewCookies(Vec<HeaderValue>);

impl SessionCookies {
    /// The access token of a request.
    pub(super) fn access_of(&self, request: &HttpRequest) -> Option<String> {
        value(request, &self.0.access)
    }

    /// The refresh token of a request.
    pub(super) fn refresh_of(&self, request: &HttpRequest) -> Option<String> {
        value(request, &self.0.refresh)
    }

    /// The ID token of a request.
    pub fn id_of(request: &HttpRequest) -> Option<String> {
        value(request, ID_TOKEN)
    }

    /// Sets the cookies of a session on the answer.
    pub fn set(&self, request: &HttpRequest, tokens: &SessionTokens, now: Timestamp) {
        let access_life = tokens.access_life.map(Duration::from_secs);
        let access_life = access_life.or_else(|| life_of(&tokens.access, now));
        self.add(request, &self.0.access, &tokens.access, access_life);
        let life = if let Some(refresh) = &tokens.refresh {
            let life = life_of(refresh, now).unwrap_or(OPAQUE_LIFE);
            self.add(request, &self.0.refresh, refresh, Some(life));
            Some(life)
        } else {
            // That of an earlier user must not refresh this session.
            self.add(request, &self.0.refresh, "", Some(Duration::ZERO));
            access_life
        };
        if let Some(id) = &tokens.id {
            // Signing out needs it, even when it has expired.
            self.add(request, ID_TOKEN, id, life);
        }
    }

    /// Removes the session from the browser.
    pub fn clear(&self, request: &HttpRequest) {
        for name in [&self.0.access, &self.0.refresh, ID_TOKEN] {
            self.add(request, name, "", Some(Duration::ZERO));
        }
    }

    /// Binds a login to the browser that begins it. Cross-site redirects bring it back, so it is
    /// `Lax` whatever the others are.
    pub fn begin_login(&self, request: &HttpRequest, id: &str) {
        let name = login_cookie(id);
        let attributes = self.attributes("Lax", Some(LOGIN_LIFE));
        add(request, &format!("{name}={id}{attributes}"));
    }

    /// Whether the browser began this login; removes its cookie.
    pub fn end_login(&self, request: &HttpRequest, id: &str) -> bool {
        let name = login_cookie(id);
        let is_bound = value(request, &name).is_some_and(|bound| bound == id);
        let attributes = self.attributes("Lax", Some(Duration::ZERO));
        add(request, &format!("{name}={attributes}"));
        is_bound
    }

    fn add(&self, request: &HttpRequest, name: &str, text: &str, life: Option<Duration>) {
        let text = utf8_percent_encode(text, NOT_IN_VALUES);
        let attributes = self.attributes(&self.0.same_site, life);
        add(request, &format!("{name}={text}{attributes}"));
    }

    fn attributes(&self, same_site: &str, life: Option<Duration>) -> String {
        let life = life.map(|life| format!("; Max-Age={}", life.as_secs())).unwrap_or_default();
        let secure = if self.0.secure { "; Secure" } else { "" };
        let partitioned = if self.0.partitioned { "; Partitioned" } else { "" };
        format!("; Path=/; HttpOnly; SameSite={same_site}{life}{secure}{partitioned}")
    }
}

/// The cookie of a login. Each has its own, because a user may sign in in two tabs at once.
fn login_cookie(id: &str) -> String {
    format!("coredock_login_{}", id.get(..8).unwrap_or(id))
}

fn value(request: &HttpRequest, name: &str) -> Option<String> {
    let cookie = request.cookie(name)?;
    (!cookie.value().is_empty()).then(|| cookie.value().to_owned())
}

fn add(request: &HttpRequest, line: &str) {
    if let Ok(line) = HeaderValue::from_str(line) {
        let mut extensions = request.extensions_mut();
        let mut cookies = extensions.remove::<NewCookies>().unwrap_or_default();
        cookies.0.push(line);
        extensions.insert(cookies);
    }
}

/// The `Set-Cookie` lines for the answer to this request.
pub(super) fn take(request: &HttpRequest) -> Vec<HeaderValue> {
    request.extensions_mut().remove::<NewCookies>().unwrap_or_default().0
}

/// The rest of the life of a token which names its end; the provider, not Coredock, relies on it.
fn life_of(token: &str, now: Timestamp) -> Option<Duration> {
    #[derive(serde::Deserialize)]
    struct End {
        exp: i64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let end: End = serde_json::from_slice(&claims).ok()?;
    let seconds = end.exp.checked_sub(now.micros().div_euclid(1_000_000))?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn cookies() -> SessionCookies {
        SessionCookies(CookieConfig {
            access: "access_token".into(),
            refresh: "refresh_token".into(),
            secure: true,
            same_site: "Strict".into(),
            partitioned: true,
        })
    }

    fn lines(request: &HttpRequest) -> Vec<String> {
        take(request).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_session_has_three_cookies_with_the_lives_of_its_tokens() {
        let request = TestRequest::default().to_http_request();
        let refresh = token(r#"{"exp":1060}"#);
        let tokens = SessionTokens {
            access: "a".into(),
            access_life: Some(300),
            refresh: Some(refresh.clone()),
            id: Some("i;d".into()),
        };
        cookies().set(&request, &tokens, Timestamp::from_micros(1_000_000_000));
        let rest = "; Path=/; HttpOnly; SameSite=Strict; Max-Age=";
        let end = "; Secure; Partitioned";
        let expected = [
            format!("access_token=a{rest}300{end}"),
            format!("refresh_token={refresh}{rest}60{end}"),
            format!("id_token=i%3Bd{rest}60{end}"),
        ];
        assert_eq!(lines(&request), expected);
    }

    #[test]
    fn a_refresh_token_without_a_readable_end_lives_thirty_days() {
        for refresh in ["opaque", "a.b.c", &token("{}"), &token(r#"{"exp":"1"}"#), &token("[]")] {
            let request = TestRequest::default().to_http_request();
            let (access, refresh) = ("a".to_owned(), Some(refresh.to_owned()));
            let tokens = SessionTokens { access, access_life: None, refresh, id: None };
            cookies().set(&request, &tokens, Timestamp::from_micros(0));
            let lines = lines(&request);
            assert!(!lines[0].contains("Max-Age"), "{lines:?}");
            assert!(lines[1].contains("Max-Age=2592000"), "{lines:?}");
        }
    }

    #[test]
    fn a_session_without_a_refresh_token_ends_that_of_an_earlier_user() {
        let request = TestRequest::default().to_http_request();
        let (access, id) = ("a".to_owned(), Some("i".to_owned()));
        let tokens = SessionTokens { access, access_life: Some(60), refresh: None, id };
        cookies().set(&request, &tokens, Timestamp::from_micros(0));
        let lines = lines(&request);
        assert!(lines[1].starts_with("refresh_token=; ") && lines[1].contains("Max-Age=0"));
        assert!(lines[2].starts_with("id_token=i; ") && lines[2].contains("Max-Age=60"));
    }

    #[test]
    fn a_value_reads_back_as_it_was_set() {
        let sent = "a%41 \"b\";c,\\";
        let request = TestRequest::default().to_http_request();
        cookies().add(&request, "x", sent, None);
        let line = lines(&request).remove(0);
        let pair = line.split(';').next().unwrap().to_owned();
        let request = TestRequest::default().insert_header(("cookie", pair)).to_http_request();
        assert_eq!(value(&request, "x").as_deref(), Some(sent));
    }

    #[test]
    fn a_login_belongs_to_the_browser_with_its_cookie() {
        let id = "0123456789abcdef";
        let request = TestRequest::default().to_http_request();
        cookies().begin_login(&request, id);
        let expected = "coredock_login_01234567=0123456789abcdef; Path=/; HttpOnly; SameSite=Lax; \
                        Max-Age=600; Secure; Partitioned";
        assert_eq!(lines(&request), [expected]);
        let bound = |cookie: &str| {
            let request = TestRequest::default().insert_header(("cookie", cookie));
            cookies().end_login(&request.to_http_request(), id)
        };
        assert!(bound("coredock_login_01234567=0123456789abcdef"));
        assert!(!bound("coredock_login_01234567=0123456700000000"));
        assert!(!bound("coredock_login_89abcdef=0123456789abcdef"));
    }
}
