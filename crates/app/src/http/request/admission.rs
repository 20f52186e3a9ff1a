//! Who calls, and whether the route admits it (contract §3.1, §3.2, §3.5).
//!
//! This is decided before a byte of the body is read, so that 401 and 403 never lose against 400
//! and 413, and by the role in the route table alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header;
use coredock_domain::identity::roles::{MissingRole, Role as UserRole};
use coredock_domain::identity::sessions::{SessionError, Sessions};
use coredock_domain::identity::verifier::{Claims, TokenFault, VerifyError};
use coredock_domain::identity::{Principal, User};
use coredock_domain::{Clock, TokenVerifier};

use super::client_address::client_address;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::identity::Admitted;
use super::refreshes::Refreshes;
use super::refusal_delay::RefusalDelay;
use super::session_cookies::SessionCookies;
use super::sites::Sites;
use crate::http::identity::{outcome, session_error};
use crate::http::routes::row::Role;
use crate::metrics::Metrics;

/// A device that waits too long reboots, so it does not wait for keys as long as others do.
const DEVICE_PATIENCE: Duration = Duration::from_secs(5);

/// Decides who is admitted.
pub struct Admission {
    /// `None` without authentication.
    verifier: Option<Arc<dyn TokenVerifier>>,
    /// `None` without authentication.
    browsers: Option<BrowserSessions>,
    sites: Sites,
    delay: RefusalDelay,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// The sessions of browsers, and the cookies in which they are.
#[derive(Clone)]
pub struct BrowserSessions {
    pub sessions: Sessions,
    pub cookies: SessionCookies,
    pub refreshes: Refreshes,
}

/// How a token was sent.
#[derive(Debug, PartialEq, Eq)]
enum SentToken {
    Bearer(String),
    /// The token in the cookie, if there is one.
    Cookie(Option<String>),
}

impl Admission {
    pub fn new(
        verifier: Option<Arc<dyn TokenVerifier>>,
        browsers: Option<BrowserSessions>,
        sites: Sites,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let delay = RefusalDelay::new(Arc::clone(&clock));
        Self { verifier, browsers, sites, delay, clock, metrics }
    }

    /// The caller of a request to a route with this role, or the answer that refuses it.
    pub async fn admit(&self, request: &HttpRequest, role: Role) -> ApiResult<Admitted> {
        let Some(verifier) = &self.verifier else {
            self.sites.check_unauthenticated(request)?;
            return Ok(Admitted::Unproven);
        };
        if matches!(role, Role::Anyone | Role::TestBench) {
            return Ok(Admitted::Unproven);
        }
        let principal = match self.authenticate(&**verifier, request, role).await {
            Ok(principal) => principal,
            Err(error) => {
                if error.is_refusal() {
                    self.refuse(request, &error).await;
                }
                return Err(error);
            }
        };
        authorize(&principal, role)?;
        Ok(Admitted::Proven(principal))
    }

    async fn authenticate(
        &self,
        verifier: &dyn TokenVerifier,
        request: &HttpRequest,
        role: Role,
    ) -> ApiResult<Principal> {
        let browsers = self.browsers.as_ref().filter(|_| role != Role::Device);
        let claims = match (sent_token(request, browsers.map(|known| &known.cookies))?, browsers) {
            (SentToken::Bearer(token), _) => {
                self.verify(verifier, &token, role).await?.map_err(|error| refusal(&error))?
            }
            (SentToken::Cookie(access), Some(browsers)) => {
                self.browser(verifier, browsers, request, access).await?
            }
            (SentToken::Cookie(_), None) => return Err(token_required()),
        };
        let principal = claims.principal();
        if role == Role::Device && !matches!(principal, Principal::Device(_)) {
            return Err(ApiError::unauthenticated("the token is not that of a device"));
        }
        Ok(principal)
    }

    /// The caller of a browser, whose session is refreshed if its access token is absent or has
    /// expired.
    async fn browser(
        &self,
        verifier: &dyn TokenVerifier,
        browsers: &BrowserSessions,
        request: &HttpRequest,
        access: Option<String>,
    ) -> ApiResult<Claims> {
        let BrowserSessions { refreshes, cookies, .. } = browsers;
        let refresh = cookies.refresh_of(request);
        if access.is_none() && refresh.is_none() {
            return Err(token_required());
        }
        self.sites.check_cookie(request)?;
        let refused = match access {
            None => token_required(),
            Some(access) => match self.verify(verifier, &access, Role::Viewer).await? {
                Ok(claims) => return Ok(claims),
                Err(error @ VerifyError::Refused { fault: TokenFault::Expired, .. }) => {
                    refusal(&error)
                }
                Err(error) => return Err(refusal(&error)),
            },
        };
        let Some(refresh) = refresh else { return Err(refused) };
        let refreshed = refreshes.refresh(refresh).await?;
        let status = outcome(refreshed.as_ref().err().map(|error| &**error));
        self.metrics.auth_token_refreshes.with_label_values(&[status]).inc();
        let tokens = refreshed.map_err(|error| {
            if matches!(*error, SessionError::Refused { .. }) {
                cookies.clear(request);
            }
            session_error(&error)
        })?;
        // The old refresh token is used up, whatever the new access token is good for.
        cookies.set(request, &tokens, self.clock.now());
        let checked = self.verify(verifier, &tokens.access, Role::Viewer).await?;
        checked.map_err(|error| refusal(&error))
    }

    /// The outer error is that of a device which cannot wait any longer.
    async fn verify(
        &self,
        verifier: &dyn TokenVerifier,
        token: &str,
        role: Role,
    ) -> ApiResult<Result<Claims, VerifyError>> {
        let began = Instant::now();
        let verifying = verifier.verify(token);
        let checked = if role == Role::Device {
            let late = |_| ApiError::outage("the keys of the identity provider did not arrive");
            tokio::time::timeout(DEVICE_PATIENCE, verifying).await.map_err(late)?
        } else {
            verifying.await
        };
        let seconds = began.elapsed().as_secs_f64();
        self.metrics.auth_seconds.with_label_values::<&str>(&[]).observe(seconds);
        self.metrics.auth_validations.with_label_values(&[status(&checked)]).inc();
        Ok(checked)
    }

    /// Logs a failed authentication, and delays the answer to an address with many of them.
    async fn refuse(&self, request: &HttpRequest, error: &ApiError) {
        let address = client_address(request);
        let (method, reason) = (request.method(), error.message());
        let shown =
            address.map_or_else(|| "an unknown address".into(), |address| address.to_string());
        tracing::info!(
            event = "authentication_failed",
            remote_address = %shown,
            %method,
            reason,
            "a request from {shown} is refused: {reason}"
        );
        if let Some(address) = address {
            self.delay.wait(address).await;
        }
    }
}

/// The label in metrics.
fn status<T>(verified: &Result<T, VerifyError>) -> &'static str {
    match verified {
        Ok(_) => "success",
        Err(VerifyError::Unavailable { .. }) => "error",
        Err(VerifyError::Refused { fault, .. }) => match fault {
            TokenFault::Expired => "expired",
            TokenFault::Signature => "invalid_signature",
            TokenFault::Claims => "invalid_claims",
            TokenFault::Malformed => "invalid_token",
        },
    }
}

fn refusal(error: &VerifyError) -> ApiError {
    match error {
        VerifyError::Refused { reason, .. } => ApiError::unauthenticated(reason),
        VerifyError::Unavailable { .. } => ApiError::unavailable(error),
    }
}

fn token_required() -> ApiError {
    ApiError::unauthenticated("a token is required")
}

/// The token in `Authorization`, which wins when it is sent, else that in the cookie. Where cookies
/// count, another scheme in `Authorization` is ignored: a proxy may have its own.
fn sent_token(request: &HttpRequest, cookies: Option<&SessionCookies>) -> ApiResult<SentToken> {
    let mut lines = request.headers().get_all(header::AUTHORIZATION);
    let (line, more) = (lines.next(), lines.next());
    if more.is_some() {
        return Err(ApiError::unauthenticated("Authorization was sent more than once"));
    }
    if let Some(line) = line {
        let mut words = line.to_str().unwrap_or_default().split_ascii_whitespace();
        let is_bearer = words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
        match (is_bearer, words.next(), words.next()) {
            (true, Some(token), None) => return Ok(SentToken::Bearer(token.to_owned())),
            (false, ..) if cookies.is_some() => {}
            _ => {
                let message = "expected Authorization: Bearer with one token";
                return Err(ApiError::unauthenticated(message));
            }
        }
    }
    Ok(SentToken::Cookie(cookies.and_then(|cookies| cookies.access_of(request))))
}

/// Checks what the role of the route demands.
fn authorize(principal: &Principal, role: Role) -> ApiResult<()> {
    let needed = match role {
        Role::Anyone | Role::TestBench | Role::Device => return Ok(()),
        Role::Pipeline => UserRole::Pipeline,
        Role::Viewer => UserRole::Viewer,
        Role::Editor => UserRole::Editor,
    };
    match principal {
        Principal::Device(_) => Err(forbidden("the token of a device is for /api/iot only")),
        Principal::User(user) => check_role(user, needed),
    }
}

fn check_role(user: &User, needed: UserRole) -> ApiResult<()> {
    user.roles.check(needed).map_err(|missing| match missing {
        MissingRole::NoneRecognised => {
            forbidden(format!("the token has no recognised role; {} is needed", needed.as_str()))
        }
        MissingRole::Insufficient => forbidden(format!(
            "the roles of the token are not sufficient; {} is needed",
            needed.as_str()
        )),
    })
}

fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::AuthorizationFailed, message)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::CookieConfig;

    fn cookies(access: &str) -> SessionCookies {
        SessionCookies(CookieConfig {
            access: access.into(),
            refresh: "refresh".into(),
            secure: false,
            same_site: "Lax".into(),
            partitioned: false,
        })
    }

    fn token(lines: &[&str], cookie: Option<&str>) -> Option<String> {
        let request = TestRequest::default().append_header((header::COOKIE, "a=b; access=c"));
        let add = |request: TestRequest, line: &&str| {
            request.append_header((header::AUTHORIZATION, (*line).to_owned()))
        };
        let request = lines.iter().fold(request, add).to_http_request();
        match sent_token(&request, cookie.map(cookies).as_ref()).ok()? {
            SentToken::Bearer(token) => Some(token),
            SentToken::Cookie(token) => token,
        }
    }

    #[test]
    fn a_bearer_token_has_exactly_two_parts() {
        for line in ["Bearer t", "bearer t", "BEARER  t"] {
            assert_eq!(token(&[line], None).as_deref(), Some("t"), "{line}");
            assert_eq!(token(&[line], Some("access")).as_deref(), Some("t"), "{line}");
        }
        for line in ["Bearer", "Bearer ", "Bearer a b"] {
            assert_eq!(token(&[line], None), None, "{line}");
            assert_eq!(token(&[line], Some("access")), None, "{line}");
        }
        assert_eq!(token(&["Bearer t", "Bearer t"], Some("access")), None);
    }

    #[test]
    fn the_cookie_counts_where_no_token_was_sent() {
        assert_eq!(token(&[], Some("access")).as_deref(), Some("c"));
        assert_eq!(token(&["Basic dXNlcjp4"], Some("access")).as_deref(), Some("c"));
        assert_eq!(token(&["Basic dXNlcjp4"], None), None);
        assert_eq!(token(&[], None), None);
        assert_eq!(token(&[], Some("other")), None);
    }
}
