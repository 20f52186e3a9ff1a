//! The error type of all routes and its envelope (contract §2).

use std::fmt;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::error::BlockingError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::error::RepositoryError;
use coredock_domain::fields::FieldFault;
use serde::Serialize;
use tokio::task::JoinError;
use utoipa::ToSchema;

use super::exchange::REQUEST_ID;

use crate::logging::chain;

pub type ApiResult<T> = Result<T, ApiError>;

/// Seconds after which a client should retry during an outage.
const RETRY_AFTER: u64 = 5;

/// The codes of contract §2.2 that the existing routes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    AuthenticationRequired,
    AuthorizationFailed,
    RecordNotFound,
    RouteNotFound,
    MethodNotAllowed,
    RecordExists,
    ResourceConflict,
    PreconditionFailed,
    PayloadTooLarge,
    RangeNotSatisfiable,
    ValidationFailed,
    RouteNotAvailable,
    ServiceUnavailable,
    ProcessingError,
}

impl ErrorCode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AuthenticationRequired => "AUTHENTICATION_REQUIRED",
            Self::AuthorizationFailed => "AUTHORIZATION_FAILED",
            Self::RecordNotFound => "RECORD_NOT_FOUND",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RecordExists => "RECORD_EXISTS",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::RangeNotSatisfiable => "RANGE_NOT_SATISFIABLE",
            Self::ValidationFailed => "VALIDATION_FAILED",
            Self::RouteNotAvailable => "ROUTE_NOT_AVAILABLE",
            Self::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            Self::ProcessingError => "PROCESSING_ERROR",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::AuthenticationRequired => StatusCode::UNAUTHORIZED,
            Self::AuthorizationFailed => StatusCode::FORBIDDEN,
            Self::RecordNotFound | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RecordExists | Self::ResourceConflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::ValidationFailed | Self::RouteNotAvailable => StatusCode::BAD_REQUEST,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProcessingError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The member `error` of the envelope.
    const fn sentence(self) -> &'static str {
        match self {
            Self::AuthenticationRequired => "Authentication is required",
            Self::AuthorizationFailed => "Not allowed",
            Self::RecordNotFound => "Record not found",
            Self::RouteNotFound => "Route not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::RecordExists => "Record exists already",
            Self::ResourceConflict => "Resource is in use",
            Self::PreconditionFailed => "Precondition failed",
            Self::PayloadTooLarge => "Payload is too large",
            Self::RangeNotSatisfiable => "Range is not satisfiable",
            Self::ValidationFailed => "Request is not valid",
            Self::RouteNotAvailable => "Route is not available",
            Self::ServiceUnavailable => "Service is unavailable",
            Self::ProcessingError => "Internal server error",
        }
    }
}

/// `details` of the envelope. It is always a non-empty object, which makes every error body safe
/// for devices (contract §2.4).
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Details {
    Message { message: String },
    Errors { errors: Vec<FieldFault> },
}

/// An answer with a status from 400 to 599.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: ErrorCode,
    details: Details,
    header: Option<(header::HeaderName, HeaderValue)>,
    cause: Option<Arc<str>>,
    correlation_id: Option<Arc<str>>,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let details = Details::Message { message: message.into() };
        Self(Box::new(Parts { code, details, header: None, cause: None, correlation_id: None }))
    }

    /// 400 with one message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationFailed, message)
    }

    /// 404: `resource` (its type) `identifier` does not exist.
    pub fn not_found(resource: &str, identifier: impl fmt::Display) -> Self {
        let message = format!("{resource} {identifier} does not exist");
        Self::new(ErrorCode::RecordNotFound, message)
    }

    /// 404 of an unknown path.
    pub fn route_not_found() -> Self {
        Self::new(ErrorCode::RouteNotFound, "no route has this path")
    }

    /// 401; `message` says what is missing.
    pub fn unauthenticated(message: &str) -> Self {
        let challenge = HeaderValue::from_static("Bearer");
        Self::new(ErrorCode::AuthenticationRequired, message)
            .with_header(header::WWW_AUTHENTICATE, Some(challenge))
    }

    /// 405; `allow` lists the methods of the route.
    pub fn method_not_allowed(allow: &str) -> Self {
        let message = format!("allowed methods: {allow}");
        let value = HeaderValue::from_str(allow).ok();
        Self::new(ErrorCode::MethodNotAllowed, message).with_header(header::ALLOW, value)
    }

    /// 413; the limit is in bytes.
    pub fn too_large(limit: u64) -> Self {
        Self::new(ErrorCode::PayloadTooLarge, format!("expected at most {limit} bytes, found more"))
    }

    /// 416 of an object of `size` bytes.
    pub fn range_not_satisfiable(size: u64) -> Self {
        let value = HeaderValue::from_str(&format!("bytes */{size}")).ok();
        let message = format!("expected a range that starts within the {size} bytes of the object");
        Self::new(ErrorCode::RangeNotSatisfiable, message).with_header(header::CONTENT_RANGE, value)
    }

    /// 503; the cause goes to the log only.
    pub fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        Self::outage(chain(cause))
    }

    /// 503; `cause` goes to the log only.
    pub fn outage(cause: impl Into<Arc<str>>) -> Self {
        let message = "a dependency does not answer; try again";
        Self::new(ErrorCode::ServiceUnavailable, message)
            .with_header(header::RETRY_AFTER, Some(HeaderValue::from(RETRY_AFTER)))
            .with_cause(cause)
    }

    /// 500; the cause goes to the log only (contract §2.5).
    pub fn unexpected(cause: impl Into<Arc<str>>) -> Self {
        let message = "the cause is in the server's log under the correlation id";
        Self::new(ErrorCode::ProcessingError, message).with_cause(cause)
    }

    /// Whether the request caused the error, not the server.
    pub fn is_refusal(&self) -> bool {
        !matches!(self.0.code, ErrorCode::ServiceUnavailable | ErrorCode::ProcessingError)
    }

    /// The sentence of `details`; empty for faults of fields.
    pub fn message(&self) -> &str {
        match &self.0.details {
            Details::Message { message } => message,
            Details::Errors { .. } => "",
        }
    }

    /// For the log only.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The same error with its id, for answers that do not pass the middleware.
    #[must_use]
    pub fn correlated(self, correlation_id: &str) -> Self {
        self.change(|parts| parts.correlation_id = Some(correlation_id.into()))
    }

    fn with_header(self, name: header::HeaderName, value: Option<HeaderValue>) -> Self {
        self.change(|parts| parts.header = value.map(|value| (name, value)))
    }

    fn with_cause(self, cause: impl Into<Arc<str>>) -> Self {
        self.change(|parts| parts.cause = Some(cause.into()))
    }

    fn change(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(&mut self.0);
        self
    }

    pub fn response(&self, correlation_id: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.0.code.status());
        if let Some((name, value)) = &self.0.header {
            response.insert_header((name.clone(), value.clone()));
        }
        response.json(Envelope {
            error: self.0.code.sentence(),
            code: self.0.code.as_str(),
            details: &self.0.details,
            correlation_id,
        })
    }
}

/// The envelope of every error (contract §2.1).
#[derive(Serialize, ToSchema)]
pub struct ErrorView {
    error: String,
    code: String,
    details: serde_json::Value,
    #[serde(rename = "correlationId")]
    correlation_id: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'static str,
    code: &'static str,
    details: &'a Details,
    #[serde(rename = "correlationId")]
    correlation_id: &'a str,
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.code.as_str())
    }
}

/// The envelope needs the correlation id, which only the middleware has. The middleware therefore
/// replaces the answer made here, unless the id was set.
impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        match &self.0.correlation_id {
            None => HttpResponse::new(self.0.code.status()),
            Some(id) => {
                let mut response = self.response(id);
                if let Ok(value) = HeaderValue::from_str(id) {
                    response.headers_mut().insert(REQUEST_ID, value);
                }
                response
            }
        }
    }
}

impl From<Vec<FieldFault>> for ApiError {
    fn from(errors: Vec<FieldFault>) -> Self {
        Self::new(ErrorCode::ValidationFailed, String::new())
            .change(|parts| parts.details = Details::Errors { errors })
    }
}

/// The task panicked.
impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        Self::unexpected(error.to_string())
    }
}

/// The work panicked on the blocking pool.
impl From<BlockingError> for ApiError {
    fn from(error: BlockingError) -> Self {
        Self::unexpected(error.to_string())
    }
}

impl From<&RepositoryError> for ApiError {
    fn from(error: &RepositoryError) -> Self {
        match error {
            RepositoryError::Unavailable { .. } => Self::unavailable(error),
            RepositoryError::Corrupt { .. } | RepositoryError::Conflict => {
                Self::unexpected(chain(error))
            }
        }
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        Self::from(&error)
    }
}

impl From<&ArtifactStoreError> for ApiError {
    fn from(error: &ArtifactStoreError) -> Self {
        match error {
            ArtifactStoreError::Unavailable { .. } | ArtifactStoreError::Damaged { .. } => {
                Self::unavailable(error)
            }
            ArtifactStoreError::NotFound { .. } => Self::unexpected(chain(error)),
        }
    }
}
