//! Reads request bodies: JSON to memory, others to temporary files.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::fields::JsonFields;
use futures::future::LocalBoxFuture;
use futures::{Stream, StreamExt};

use super::error::{ApiError, ApiResult};
use super::spool::SpoolSink;

/// How much of an unread body is read and dropped at most (contract §4.5).
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;

/// Longest time without a byte of a body that is not complete (`HTTP_STALL_SECONDS`).
#[derive(Debug, Clone, Copy)]
pub struct StallLimit(pub Duration);

/// Maximum length of the body of this request in bytes, from the row of its route.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub u64);

/// A type that a JSON object body is parsed into.
pub trait FromBody: Sized {
    /// Reports all faults together (contract §2.3).
    fn from_body(fields: JsonFields, request: &HttpRequest) -> ApiResult<Self>;
}

/// A JSON object body without faults.
pub struct ValidBody<T>(pub T);

impl<T: FromBody + 'static> FromRequest for ValidBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, body) = (request.clone(), UnreadBody::from_request(request, payload));
        Box::pin(async move {
            let fields = JsonFields::parse(&body.await?.into_memory().await?)?;
            T::from_body(fields, &request).map(Self)
        })
    }
}

/// Unwraps a field after `finish` found no fault, so that the field must have a value.
pub fn complete<T>(value: Option<T>) -> ApiResult<T> {
    value.ok_or_else(|| ApiError::unexpected("a field has no value, although no fault was found"))
}

/// A body that has not been read yet.
pub struct UnreadBody {
    pub(super) request: HttpRequest,
    pub(super) payload: Payload,
    pub(super) limit: u64,
}

impl FromRequest for UnreadBody {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = request.extensions().get::<BodyLimit>().copied();
        let unlimited = || ApiError::unexpected("the row of this route has no limit for bodies");
        ready(limit.ok_or_else(unlimited).map(|limit| Self {
            request: request.clone(),
            payload: payload.take(),
            limit: limit.0,
        }))
    }
}

impl UnreadBody {
    /// Reads the raw body, which may be empty, into a temporary file.
    pub async fn into_file(mut self, spool: &SpoolDirectory) -> ApiResult<SpooledFile> {
        self.check_declared(self.limit)?;
        let stall = stall_of(&self.request);
        let mut sink = SpoolSink::new(spool, self.limit)?;
        while let Some(piece) = next_piece(&mut self.payload, stall).await? {
            sink = sink.push(piece).await?;
        }
        sink.finish().await
    }

    async fn into_memory(mut self) -> ApiResult<Bytes> {
        self.check_declared(self.limit)?;
        let stall = stall_of(&self.request);
        let mut body = BytesMut::new();
        while let Some(piece) = next_piece(&mut self.payload, stall).await? {
            if body.len() as u64 + piece.len() as u64 > self.limit {
                return Err(ApiError::too_large(self.limit));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Refuses a body by its `Content-Length`, before any of it is read.
    pub(super) fn check_declared(&self, limit: u64) -> ApiResult<()> {
        match declared_length(&self.request) {
            Some(length) if length > limit => Err(ApiError::too_large(self.limit)),
            Some(_) | None => Ok(()),
        }
    }
}

pub(super) fn declared_length(request: &HttpRequest) -> Option<u64> {
    let declared = request.headers().get(header::CONTENT_LENGTH)?;
    declared.to_str().ok()?.parse().ok()
}

pub(super) fn stall_of(request: &HttpRequest) -> Duration {
    let limit = request.app_data::<web::Data<StallLimit>>();
    limit.map_or(Duration::from_mins(1), |limit| limit.0)
}

pub(super) async fn next_piece(
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    stall: Duration,
) -> ApiResult<Option<Bytes>> {
    let broken = |_| ApiError::invalid("the connection broke before the end of the body");
    in_time(payload.next(), stall).await?.transpose().map_err(broken)
}

pub(super) async fn in_time<T>(next: impl Future<Output = T>, stall: Duration) -> ApiResult<T> {
    let stalled = |_| {
        let seconds = stall.as_secs();
        ApiError::invalid(format!("the body stalled: no byte arrived for {seconds} s"))
    };
    tokio::time::timeout(stall, next).await.map_err(stalled)
}

/// Reads and drops the rest of a body, up to 16 MiB, or until no byte arrives for `silence`.
pub(super) async fn drain(
    mut rest: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    silence: Duration,
) {
    let mut drained = 0;
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(silence, rest.next()).await {
        drained += piece.len();
        if drained > MAX_DRAINED_BYTES {
            break;
        }
    }
}
