//! What every request goes through: its id, its envelope, its metrics and its log line.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use futures::FutureExt;
use tracing::Instrument;

use super::cors::CorsOrigins;
use super::device_body;
use super::error::ApiError;
use super::in_flight::{InFlight, RequestsInFlight};
use super::query::percent_decode;
use crate::metrics::Metrics;

/// The part of a route pattern that only says what an id looks like.
const ID_RULE: &str = ":[0-9]{1,18}";
const LONGEST_REQUEST_LINE: usize = 8 * 1024;
const LARGEST_HEADERS: usize = 64 * 1024;
/// Names the request in answer and log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request (contract §1.5).
#[derive(Debug, Clone)]
pub struct CorrelationId(Rc<str>);

impl CorrelationId {
    /// The id of this request.
    pub fn of(request: &HttpRequest) -> String {
        request.extensions().get::<Self>().map(|id| id.0.to_string()).unwrap_or_default()
    }

    fn choose(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let fresh = || uuid::Uuid::new_v4().to_string();
        Self(sent.filter(|id| is_acceptable(id)).map_or_else(fresh, str::to_owned).into())
    }
}

fn is_acceptable(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(allowed)
}

/// Who a route is for, as metrics tell them apart.
fn class_of(path: &str) -> &'static str {
    if path.starts_with("/api/iot/") {
        "device"
    } else if path.starts_with("/api/pipeline/") {
        "pipeline"
    } else if path.starts_with("/api/") {
        "admin"
    } else {
        "operator"
    }
}

/// Counts a request until it is answered or its caller has hung up.
fn enter(request: &ServiceRequest) -> Option<InFlight> {
    let metrics = request.app_data::<web::Data<Metrics>>()?;
    let gauge = metrics.http_in_flight.with_label_values(&[class_of(request.path())]);
    Some(request.app_data::<web::Data<RequestsInFlight>>()?.enter(gauge))
}

/// The middleware around every route.
pub async fn exchange(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let began = Instant::now();
    let id = CorrelationId::choose(request.headers());
    request.extensions_mut().insert(id.clone());
    let metrics = request.app_data::<web::Data<Metrics>>().cloned();
    let cors = request.app_data::<web::Data<CorsOrigins>>().cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let in_flight = enter(&request);
    let span = tracing::info_span!("request", correlation_id = &*id.0);
    let answered = answer(request, next, &id).instrument(span.clone()).await;
    drop(in_flight);
    let mut response = answered?;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    if let (Some(cors), Some(origin)) = (cors, origin) {
        cors.allow(&origin, headers);
    }
    let _entered = span.enter();
    note(&response, began, metrics.as_ref().map(web::Data::get_ref));
    Ok(response)
}

async fn answer<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
    id: &CorrelationId,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    device_body::read_device_post(&mut request).await;
    if let Some(status) = malformed(&request) {
        let empty = HttpResponse::new(status);
        return Ok(request.into_response(empty).map_into_right_body());
    }
    if request.method() == Method::OPTIONS && super::cors::is_preflight(&request) {
        let allowed = super::cors::preflight_response();
        return Ok(request.into_response(allowed).map_into_right_body());
    }
    if percent_decode(request.uri().path()).is_none() {
        let error = ApiError::invalid("the path is not percent-encoded UTF-8");
        return Ok(refuse(request, &error, id));
    }
    // The router needs the request for itself: where it is lost, the error answers alone.
    let error = match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(Ok(response)) => return Ok(with_envelope(response, id)),
        Ok(Err(error)) => api_error(&error),
        Err(_) => ApiError::unexpected("a handler panicked"),
    };
    log_cause(&error);
    Err(error.correlated(&id.0).into())
}

fn refuse<B>(
    request: ServiceRequest,
    error: &ApiError,
    id: &CorrelationId,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    request.into_response(error.response(&id.0)).map_into_right_body()
}

/// Requests that are answered without a body (contract §1.1).
fn malformed(request: &ServiceRequest) -> Option<StatusCode> {
    let uri = request.head().uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + uri + " HTTP/1.1 ".len();
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if line > LONGEST_REQUEST_LINE {
        Some(StatusCode::URI_TOO_LONG)
    } else if request.headers().iter().map(header).sum::<usize>() > LARGEST_HEADERS {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        None
    }
}

/// Gives an error its body, now that the correlation id is at hand.
fn with_envelope<B: MessageBody>(
    response: ServiceResponse<B>,
    id: &CorrelationId,
) -> ServiceResponse<EitherBody<B>> {
    let Some(error) = response.response().error() else {
        return response.map_into_left_body();
    };
    let error = api_error(error);
    log_cause(&error);
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, error.response(&id.0)).map_into_right_body()
}

/// Errors of the framework (broken chunks, closed bodies) are faults of the request.
fn api_error(error: &Error) -> ApiError {
    if let Some(error) = error.as_error::<ApiError>() {
        return error.clone();
    }
    let status = error.as_response_error().status_code();
    if status.is_client_error() {
        ApiError::invalid("the request could not be read")
    } else {
        ApiError::unexpected(error.to_string())
    }
}

fn log_cause(error: &ApiError) {
    if let Some(cause) = error.cause() {
        tracing::error!(cause, "{error}");
    }
}

fn note<B>(response: &ServiceResponse<B>, began: Instant, metrics: Option<&Metrics>) {
    let request = response.request();
    let route = route_of(request);
    let route = route.as_ref();
    let method = known_method(request.method());
    let status = response.status();
    let seconds = began.elapsed().as_secs_f64();
    if let Some(metrics) = metrics {
        let labels = [method, route, status.as_str()];
        metrics.http_requests.with_label_values(&labels).inc();
        metrics.http_seconds.with_label_values(&[method, route]).observe(seconds);
    }
    let (status, milliseconds) = (status.as_u16(), (seconds * 1e6).round() / 1e3);
    if QUIET_ROUTES.contains(&route) {
        tracing::debug!(method, route, status, milliseconds, "request");
    } else {
        tracing::info!(method, route, status, milliseconds, "request");
    }
}

/// The pattern of the route; asking the router again is dear, so fixed paths go without.
fn route_of(request: &HttpRequest) -> Cow<'static, str> {
    if let Some(fixed) = QUIET_ROUTES.into_iter().find(|route| *route == request.path()) {
        return Cow::Borrowed(fixed);
    }
    match request.match_pattern() {
        Some(pattern) => Cow::Owned(pattern.replace(ID_RULE, "")),
        None => Cow::Borrowed("unknown"),
    }
}

/// Asked for at every boot of every device, or every few seconds by machines (contract §4.3).
const QUIET_ROUTES: [&str; 5] = [
    "/api/iot/firmware",
    "/api/iot/firmware-version",
    "/health/healthz",
    "/health/readyz",
    "/metrics",
];

/// Methods are labels of metrics: unknown ones share a name.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
