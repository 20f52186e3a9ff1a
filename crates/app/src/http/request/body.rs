//! Takes request bodies in: small ones to memory, bundles to temporary files.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use actix_multipart::{Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{Error, FromRequest, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpoolWriter, SpooledFile};
use coredock_domain::fields::JsonFields;
use futures::future::LocalBoxFuture;
use futures::{Stream, StreamExt};

use super::error::ApiError;

/// Largest JSON body (contract §1.6).
const JSON_LIMIT: u64 = 1024 * 1024;
/// How long a refused caller may be silent before it is taken to have ended.
const SHORT_SILENCE: Duration = Duration::from_secs(2);
/// What is sent beyond this is not waited for (contract §4.5).
const DRAINED_BYTES: usize = 16 * 1024 * 1024;
/// Written to the temporary file in one go.
const WRITE_BYTES: usize = 256 * 1024;
/// What boundaries and headers of a multipart body may add to its file.
const MULTIPART_OVERHEAD: u64 = 64 * 1024;

/// Longest silence of a caller that still sends (`HTTP_STALL_SECONDS`).
#[derive(Debug, Clone, Copy)]
pub struct StallLimit(pub Duration);

/// The members of a JSON object body.
pub struct JsonBody(pub JsonFields);

impl FromRequest for JsonBody {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        Box::pin(async move { Ok(Self(json_fields(payload.await?, &request).await?)) })
    }
}

async fn json_fields(
    mut payload: web::Payload,
    request: &HttpRequest,
) -> Result<JsonFields, ApiError> {
    check_declared(request.headers(), JSON_LIMIT)?;
    let stall = stall_of(request);
    let mut body = BytesMut::new();
    while let Some(piece) = next_piece(&mut payload, stall).await? {
        if body.len() as u64 + piece.len() as u64 > JSON_LIMIT {
            return Err(ApiError::too_large(JSON_LIMIT));
        }
        body.extend_from_slice(&piece);
    }
    Ok(JsonFields::parse(&body)?)
}

/// Spools a firmware upload: the raw body, or the one part `file` of a multipart body. At most
/// `limit` bytes; not empty.
pub async fn firmware_upload(
    payload: web::Payload,
    request: &HttpRequest,
    spool: &SpoolDirectory,
    limit: u64,
) -> Result<SpooledFile, ApiError> {
    let body = if is_multipart(request.headers()) {
        check_declared(request.headers(), limit.saturating_add(MULTIPART_OVERHEAD))?;
        multipart_upload(payload, request.headers(), spool, limit, stall_of(request)).await?
    } else {
        raw_upload(payload, request, spool, limit).await?
    };
    if body.length() == 0 {
        return Err(ApiError::invalid("the body is empty; it must be a firmware bundle"));
    }
    Ok(body)
}

/// Spools a body as it is, at most `limit` bytes, perhaps none.
pub async fn raw_upload(
    mut payload: web::Payload,
    request: &HttpRequest,
    spool: &SpoolDirectory,
    limit: u64,
) -> Result<SpooledFile, ApiError> {
    check_declared(request.headers(), limit)?;
    let stall = stall_of(request);
    let mut sink = SpoolSink::new(spool, limit)?;
    while let Some(piece) = next_piece(&mut payload, stall).await? {
        sink = sink.take(piece).await?;
    }
    sink.finish().await
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("multipart/form-data")
    })
}

/// The multipart reader lets go of the payload when it gives up, and a connection whose payload is
/// let go of while it waits for room can stay deaf: what the caller still sends is read here first.
async fn multipart_upload(
    payload: web::Payload,
    headers: &HeaderMap,
    spool: &SpoolDirectory,
    limit: u64,
    stall: Duration,
) -> Result<SpooledFile, ApiError> {
    let payload = Rc::new(RefCell::new(payload));
    let shared = Rc::clone(&payload);
    let pieces =
        futures::stream::poll_fn(move |context| shared.borrow_mut().poll_next_unpin(context));
    let outcome = spool_file_part(Multipart::new(headers, pieces), spool, limit, stall).await;
    if outcome.is_err() {
        let rest =
            futures::stream::poll_fn(|context| payload.borrow_mut().poll_next_unpin(context));
        drain(rest, SHORT_SILENCE).await;
    }
    outcome
}

/// Reads what still comes, up to 16 MiB or a silence.
pub(super) async fn drain(
    mut rest: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    silence: Duration,
) {
    let mut drained = 0;
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(silence, rest.next()).await {
        drained += piece.len();
        if drained > DRAINED_BYTES {
            break;
        }
    }
}

async fn spool_file_part(
    mut multipart: Multipart,
    spool: &SpoolDirectory,
    limit: u64,
    stall: Duration,
) -> Result<SpooledFile, ApiError> {
    let malformed = |error: MultipartError| {
        ApiError::invalid(format!("the multipart body cannot be read: {error}"))
    };
    let mut file = None;
    while let Some(part) = in_time(multipart.next(), stall).await? {
        let mut part = part.map_err(malformed)?;
        if part.name() != Some("file") || file.is_some() {
            let message = "a multipart body must have exactly one part, named file";
            return Err(ApiError::invalid(message));
        }
        let mut sink = SpoolSink::new(spool, limit)?;
        while let Some(piece) = in_time(part.next(), stall).await? {
            let piece = piece.map_err(malformed)?;
            sink = sink.take(piece).await?;
        }
        file = Some(sink.finish().await?);
    }
    file.ok_or_else(|| ApiError::invalid("the multipart body has no part named file"))
}

/// Refuses by `Content-Length` what would be refused by its bytes.
fn check_declared(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match declared.map(str::parse::<u64>) {
        Some(Ok(length)) if length > limit => Err(ApiError::too_large(limit)),
        _ => Ok(()),
    }
}

pub(super) fn stall_of(request: &HttpRequest) -> Duration {
    let limit = request.app_data::<web::Data<StallLimit>>();
    limit.map_or(Duration::from_mins(1), |limit| limit.0)
}

pub(super) async fn next_piece(
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    stall: Duration,
) -> Result<Option<Bytes>, ApiError> {
    let broken = |_| ApiError::invalid("the body could not be read to its end");
    in_time(payload.next(), stall).await?.transpose().map_err(broken)
}

async fn in_time<T>(next: impl Future<Output = T>, stall: Duration) -> Result<T, ApiError> {
    let stalled = |_| ApiError::invalid("the body did not arrive in time");
    tokio::time::timeout(stall, next).await.map_err(stalled)
}

/// Collects pieces and writes them to a temporary file off the async threads.
pub(super) struct SpoolSink {
    writer: SpoolWriter,
    waiting: BytesMut,
    length: u64,
    limit: u64,
}

impl SpoolSink {
    pub(super) fn new(spool: &SpoolDirectory, limit: u64) -> Result<Self, ApiError> {
        let writer = spool.create().map_err(|error| ApiError::unavailable(&error))?;
        Ok(Self { writer, waiting: BytesMut::new(), length: 0, limit })
    }

    pub(super) async fn take(mut self, piece: Bytes) -> Result<Self, ApiError> {
        self.length += piece.len() as u64;
        if self.length > self.limit {
            return Err(ApiError::too_large(self.limit));
        }
        self.waiting.extend_from_slice(&piece);
        if self.waiting.len() < WRITE_BYTES { Ok(self) } else { self.flush().await }
    }

    pub(super) async fn finish(self) -> Result<SpooledFile, ApiError> {
        Ok(self.flush().await?.writer.finish())
    }

    async fn flush(mut self) -> Result<Self, ApiError> {
        let write = move || {
            self.writer.write_all(&self.waiting)?;
            self.waiting.clear();
            Ok::<_, std::io::Error>(self)
        };
        let written = web::block(write).await;
        let written = written.map_err(|error| ApiError::unexpected(error.to_string()))?;
        written.map_err(|error| ApiError::unavailable(&error))
    }
}
