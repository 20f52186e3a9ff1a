//! Sign-in and sign-out of browsers (contract §3.7).

mod redirect;

use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use coredock_domain::Clock;
use coredock_domain::identity::sessions::SessionError;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::admission::BrowserSessions;
use super::request::error::{ApiError, ApiResult, ErrorView};
use super::request::identity::{Public, Viewer};
use super::request::query::Query;
use super::request::session_cookies::SessionCookies;
use crate::metrics::Metrics;

/// What sign-in needs.
pub struct SignIn {
    /// `None` without authentication.
    pub browsers: Option<BrowserSessions>,
    /// `BASEURL`
    pub base_url: String,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
}

/// The signed-in user.
#[derive(Serialize, ToSchema)]
pub struct SelfView {
    pub email: Option<String>,
    pub name: Option<String>,
    /// As the token holds them, sorted; roles which they imply are not listed.
    pub roles: Vec<&'static str>,
    pub subject: String,
}

/// The signed-in user.
#[utoipa::path(get, path = "/api/auth/self", tag = "auth", operation_id = "get_self",
    responses((status = 200, body = SelfView), (status = 401, body = ErrorView),
        (status = 403, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn get_self(caller: Viewer) -> ApiResult<Json<SelfView>> {
    Ok(Json(match caller.user() {
        Some(user) => SelfView {
            email: user.email.clone(),
            name: user.name.clone(),
            roles: user.roles.names(),
            subject: user.subject.clone(),
        },
        None => SelfView {
            email: Some("admin@local".into()),
            name: Some("Local Admin".into()),
            roles: vec!["admin"],
            subject: "local-user".into(),
        },
    }))
}

/// Begins a sign-in: sends the browser to the identity provider.
#[utoipa::path(get, path = "/api/auth/login", tag = "auth", operation_id = "login",
    params(("redirect" = String, Query,
        description = "Where the browser goes when it is signed in: a path, or a URL of this installation")),
    responses((status = 302, description = "To the identity provider"),
        (status = 400, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn login(
    _: Public,
    request: HttpRequest,
    sign_in: Data<SignIn>,
) -> ApiResult<HttpResponse> {
    let BrowserSessions { sessions, cookies, .. } = sign_in.browsers()?;
    let redirect = sign_in.redirect(&request)?;
    let redirect = redirect.ok_or_else(|| ApiError::invalid("redirect is required"))?;
    let begun = sessions.begin(redirect).await.map_err(|error| session_error(&error))?;
    cookies.begin_login(&request, &begun.login.id);
    Ok(found(&begun.url))
}

/// Ends a sign-in: the identity provider sends the browser here.
#[utoipa::path(get, path = "/api/auth/callback", tag = "auth", operation_id = "callback",
    params(("code" = Option<String>, Query), ("state" = String, Query),
        ("error" = Option<String>, Query, description = "Why the identity provider sends no code")),
    responses((status = 302, description = "To the page that was asked for, with a session"),
        (status = 400, body = ErrorView), (status = 401, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn callback(
    _: Public,
    request: HttpRequest,
    sign_in: Data<SignIn>,
) -> ApiResult<HttpResponse> {
    let BrowserSessions { sessions, cookies, .. } = sign_in.browsers()?;
    let query = Query::new(request.query_string());
    let parameter = |name| query.get(name).map_err(|fault| ApiError::from(vec![fault]));
    let state = parameter("state")?.ok_or_else(|| ApiError::invalid("state is required"))?;
    let login = sessions.login_of(&state);
    let login = login.ok_or_else(|| ApiError::invalid("state is not valid, or has expired"))?;
    if request.method() == Method::HEAD {
        return Ok(found(&login.redirect));
    }
    if !cookies.end_login(&request, &login.id) {
        return Err(ApiError::unauthenticated("this sign-in was begun by another browser"));
    }
    let Some(code) = parameter("code")? else {
        return Err(ApiError::unauthenticated("the identity provider did not sign the user in"));
    };
    let completed = sessions.complete(&login, &code).await;
    let status = outcome(completed.as_ref().err());
    sign_in.metrics.oidc_token_exchanges.with_label_values(&[status]).inc();
    let signed_in = completed.map_err(|error| session_error(&error))?;
    let subject = &signed_in.claims.subject;
    tracing::info!(event = "signed_in", subject, "user {subject} signed in");
    cookies.set(&request, &signed_in.tokens, sign_in.clock.now());
    Ok(found(&login.redirect))
}

/// Signs out here and at the identity provider.
#[utoipa::path(get, path = "/api/auth/logout", tag = "auth", operation_id = "logout",
    params(("redirect" = Option<String>, Query, description = "Where the browser goes then; `/` unless given")),
    responses((status = 302, description = "To the identity provider, or to the redirect"),
        (status = 400, body = ErrorView)))]
pub async fn logout(
    _: Public,
    request: HttpRequest,
    sign_in: Data<SignIn>,
) -> ApiResult<HttpResponse> {
    let redirect = sign_in.redirect(&request)?.unwrap_or_else(|| "/".into());
    let Some(BrowserSessions { sessions, cookies, .. }) = &sign_in.browsers else {
        return Ok(found(&redirect));
    };
    if request.method() == Method::HEAD {
        return Ok(found(&redirect));
    }
    cookies.clear(&request);
    let id_token = SessionCookies::id_of(&request);
    let return_to = redirect::absolute(&redirect, &sign_in.base_url);
    let page = match sessions.end_session_url(id_token.as_deref(), &return_to).await {
        Ok(page) => page,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "a user signed out here only: the identity provider does not answer"
            );
            None
        }
    };
    Ok(found(page.as_deref().unwrap_or(&redirect)))
}

impl SignIn {
    fn browsers(&self) -> ApiResult<&BrowserSessions> {
        let off = || ApiError::invalid("sign-in is off: OIDC_ENABLED is false");
        self.browsers.as_ref().ok_or_else(off)
    }

    /// The parameter `redirect`; `None` if it is absent.
    fn redirect(&self, request: &HttpRequest) -> ApiResult<Option<String>> {
        let query = Query::new(request.query_string());
        let Some(sent) = query.get("redirect").map_err(|fault| vec![fault])? else {
            return Ok(None);
        };
        let message = "redirect must be a path or a URL of this installation";
        let accepted = redirect::accepted(&sent, &self.base_url);
        accepted.map(|target| Some(target.to_owned())).ok_or_else(|| ApiError::invalid(message))
    }
}

fn found(target: &str) -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, target))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// The label of metrics.
pub fn outcome(error: Option<&SessionError>) -> &'static str {
    match error {
        None => "success",
        Some(SessionError::Refused { .. }) => "refused",
        Some(
            SessionError::ProviderUnavailable { .. }
            | SessionError::Slow
            | SessionError::Repository(_),
        ) => "error",
    }
}

pub fn session_error(error: &SessionError) -> ApiError {
    match error {
        SessionError::Refused { reason } => ApiError::unauthenticated(reason),
        SessionError::Repository(error) => error.into(),
        SessionError::ProviderUnavailable { .. } | SessionError::Slow => {
            ApiError::unavailable(error)
        }
    }
}
