//! The middleware around every route: correlation id, envelope of errors, metrics and log line.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use futures::FutureExt;
use tracing::Instrument;

use super::admission::Admission;
use super::body::BodyLimit;
use super::cors::{self, CorsOrigins};
use super::device_body::{self, DumpRules};
use super::error::{ApiError, ApiResult};
use super::in_flight::RequestsInFlight;
use super::query::percent_decode;
use super::{security_headers, session_cookies};
use crate::http::routes::lookup::{Found, RouteLookup};
use crate::http::routes::row::{Body, BodyLimits, Class};
use crate::metrics::Metrics;

/// Devices are answered within 10 s (contract §1.7); this leaves room to write the answer.
const DEVICE_DEADLINE: Duration = Duration::from_millis(9_500);
const MAX_REQUEST_LINE: usize = 8 * 1024;
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The header with the correlation id.
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

pub struct ExchangeContext {
    pub routes: RouteLookup,
    pub limits: BodyLimits,
    pub spool: SpoolDirectory,
    pub cors: CorsOrigins,
    pub admission: Admission,
    pub in_flight: RequestsInFlight,
    pub metrics: Metrics,
}

/// The middleware around every route.
pub async fn exchange(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let began = Instant::now();
    let id = CorrelationId::choose(request.headers());
    request.extensions_mut().insert(id.clone());
    let context = request.app_data::<web::Data<ExchangeContext>>().cloned();
    let context = context.ok_or_else(|| {
        ApiError::unexpected("the state of the server does not contain the exchange context")
    })?;
    let route = context.routes.find(request.match_info().as_str());
    let gauge = context.metrics.http_in_flight.with_label_values(&[route.class.as_str()]);
    let in_flight = context.in_flight.enter(gauge);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let span = tracing::info_span!("request", correlation_id = &*id.0);
    let exchange = Exchange { context: &context, route, id: &id };
    let answered = exchange.answer(request, next).instrument(span.clone()).await;
    drop(in_flight);
    let mut response = answered?;
    let cookies = session_cookies::take(response.request());
    let headers = response.headers_mut();
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    security_headers::add(route.class, headers);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(origin) = origin {
        context.cors.allow(&origin, headers);
    }
    let _entered = span.enter();
    exchange.record(&response, began);
    Ok(response)
}

/// A request with the facts that are known before it is routed.
struct Exchange<'a> {
    context: &'a ExchangeContext,
    route: Found<'a>,
    id: &'a CorrelationId,
}

impl Exchange<'_> {
    async fn answer<B: MessageBody + 'static>(
        &self,
        mut request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        let malformed = malformed(&request);
        let began = Instant::now();
        let is_preflight = self.route.class != Class::Operator && cors::is_preflight(&request);
        let admitted = if malformed.is_some() || is_preflight {
            Ok(())
        } else {
            self.admit(request.request()).await
        };
        let waited = began.elapsed();
        let reads_dump = admitted.is_ok() && malformed.is_none();
        self.prepare_body(&mut request, reads_dump).await;
        if let Some(status) = malformed {
            let empty = HttpResponse::new(status);
            return Ok(request.into_response(empty).map_into_right_body());
        }
        if is_preflight {
            let allowed = cors::preflight_response();
            return Ok(request.into_response(allowed).map_into_right_body());
        }
        if percent_decode(request.uri().path()).is_none() {
            let error = ApiError::invalid("expected a path in percent-encoded UTF-8");
            let answer = error.response(&self.id.0);
            return Ok(request.into_response(answer).map_into_right_body());
        }
        if let Err(error) = admitted {
            self.log_cause(&error);
            let answer = error.response(&self.id.0);
            return Ok(request.into_response(answer).map_into_right_body());
        }
        let method = known_method(request.method());
        // The router consumes the request. Without it there is no response to pass on, so the error
        // itself carries the correlation id.
        let error = match AssertUnwindSafe(self.routed(request, next, waited)).catch_unwind().await
        {
            Ok(Ok(response)) => return Ok(self.with_envelope(response)),
            Ok(Err(error)) => api_error(&error),
            Err(_) => {
                let route = self.route.label();
                ApiError::unexpected(format!("the handler of {method} {route} panicked"))
            }
        };
        self.log_cause(&error);
        Err(error.correlated(&self.id.0).into())
    }

    /// Decides who calls, before a byte of the body is read. Paths and methods without a row are
    /// refused by the router.
    async fn admit(&self, request: &HttpRequest) -> ApiResult<()> {
        if let Some(role) = self.route.role(request.method()) {
            let admitted = self.context.admission.admit(request, role).await?;
            request.extensions_mut().insert(admitted);
        }
        Ok(())
    }

    /// Sets the limit of the body, and reads a body that must be read before any answer. The body
    /// of a device that is refused is dropped.
    async fn prepare_body(&self, request: &mut ServiceRequest, is_admitted: bool) {
        let body = self.route.body(request.method());
        let limit = self.context.limits.of(body);
        if let Some(limit) = limit {
            request.extensions_mut().insert(BodyLimit(limit));
        }
        if self.route.class == Class::Device && request.method() == Method::POST {
            let dump = limit.filter(|_| is_admitted && body == Body::Dump);
            let spool = &self.context.spool;
            let dump = dump.map(|max_body_bytes| DumpRules { max_body_bytes, spool });
            device_body::read_to_end(request, dump).await;
        }
    }

    /// A device that waits too long reboots, so a dependency that hangs counts as an outage. It has
    /// `waited` for its admission already.
    async fn routed<B: MessageBody + 'static>(
        &self,
        request: ServiceRequest,
        next: Next<B>,
        waited: Duration,
    ) -> Result<ServiceResponse<B>, Error> {
        let answer = next.call(request);
        if self.route.class != Class::Device {
            return answer.await;
        }
        let late = |_| ApiError::outage(format!("no answer within {DEVICE_DEADLINE:?}"));
        let rest = DEVICE_DEADLINE.saturating_sub(waited);
        tokio::time::timeout(rest, answer).await.map_err(late)?
    }

    /// Gives an error its body, which needs the correlation id.
    fn with_envelope<B: MessageBody>(
        &self,
        response: ServiceResponse<B>,
    ) -> ServiceResponse<EitherBody<B>> {
        let Some(error) = response.response().error() else {
            return response.map_into_left_body();
        };
        let error = api_error(error);
        self.log_cause(&error);
        let (request, _) = response.into_parts();
        ServiceResponse::new(request, error.response(&self.id.0)).map_into_right_body()
    }

    fn log_cause(&self, error: &ApiError) {
        if let Some(cause) = error.cause() {
            let route = self.route.label();
            tracing::error!(cause, "request to {route} answered with {error}: {cause}");
        }
    }

    fn record<B>(&self, response: &ServiceResponse<B>, began: Instant) {
        let (metrics, route) = (&self.context.metrics, self.route.label());
        let method = known_method(response.request().method());
        let status = response.status();
        let seconds = began.elapsed().as_secs_f64();
        metrics.http_requests.with_label_values(&[method, route, status.as_str()]).inc();
        metrics.http_seconds.with_label_values(&[method, route]).observe(seconds);
        let (status, milliseconds) = (status.as_u16(), (seconds * 1e6).round() / 1e3);
        if self.route.is_quiet() {
            tracing::debug!(
                method,
                route,
                status,
                milliseconds,
                "{method} {route} answered with {status} in {milliseconds} ms"
            );
        } else {
            tracing::info!(
                method,
                route,
                status,
                milliseconds,
                "{method} {route} answered with {status} in {milliseconds} ms"
            );
        }
    }
}

/// Requests that are answered without a body (contract §1.1).
fn malformed(request: &ServiceRequest) -> Option<StatusCode> {
    let uri = request.head().uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + uri + " HTTP/1.1 ".len();
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if line > MAX_REQUEST_LINE {
        Some(StatusCode::URI_TOO_LONG)
    } else if request.headers().iter().map(header).sum::<usize>() > MAX_HEADER_BYTES {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        None
    }
}

/// Client errors of the framework, such as broken chunks, are faults of the request.
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

/// The label of metrics; unknown methods share one, because a label must have few values.
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
