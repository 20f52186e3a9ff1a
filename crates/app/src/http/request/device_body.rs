//! Bodies devices send (contract §4.5): read to the end before anything is answered, errors
//! included. A device whose socket is reset while it still writes aborts and reboots.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::spooled_file::SpoolDirectory;

use super::body::{SpoolSink, drain, next_piece, stall_of};
use super::error::ApiError;
use super::query::percent_decode;

/// What a request keeps of its body in memory; the rest goes to a temporary file (contract §1.6).
const KEPT_IN_MEMORY: u64 = 1024 * 1024;

/// How much of a dump is kept, and where.
#[derive(Clone)]
pub struct DumpRules {
    /// Largest dump in bytes.
    pub largest_body: u64,
    /// Where larger ones are spooled.
    pub spool: SpoolDirectory,
}

/// The body of a dump; `Ok(None)` when it was larger than the limit.
pub struct DumpBody(pub Result<Option<ArtifactBody>, ApiError>);

/// A body that waits for its handler.
struct Waiting(Cell<Option<Result<Option<ArtifactBody>, ApiError>>>);

impl FromRequest for DumpBody {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let waiting = request.extensions().get::<Waiting>().and_then(|waiting| waiting.0.take());
        let missing = || ApiError::unexpected("the body of a dump was not read");
        ready(waiting.map(Self).ok_or_else(missing))
    }
}

/// Reads the body of a `POST` of a device: that of a dump for its handler, any other to no end.
pub async fn read_device_post(request: &mut ServiceRequest) {
    // The router matches decoded paths; what cannot be decoded is drained all the same.
    let path = percent_decode(request.uri().path());
    let path = path.as_deref().unwrap_or(request.uri().path());
    if request.method() != Method::POST || !path.starts_with("/api/iot/") {
        return;
    }
    let stall = stall_of(request.request());
    let is_dump = path == "/api/iot/coredump";
    let rules = request.app_data::<web::Data<DumpRules>>().cloned();
    let declared = request.headers().get("content-length").and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut payload = request.take_payload();
    if let Some(rules) = rules.filter(|_| is_dump) {
        let body = read_dump(&mut payload, &rules, (declared, stall)).await;
        // Nothing more will come from a caller that broke off or fell silent.
        let ended = body.as_ref().is_err_and(ApiError::is_refusal);
        request.extensions_mut().insert(Waiting(Cell::new(Some(body))));
        if ended {
            return;
        }
    }
    drain(payload, stall).await;
}

/// Reads a dump as far as the limit goes; what comes behind is left to be drained.
async fn read_dump(
    payload: &mut Payload,
    rules: &DumpRules,
    (declared, stall): (u64, Duration),
) -> Result<Option<ArtifactBody>, ApiError> {
    if declared > rules.largest_body {
        return Ok(None);
    }
    let expected = usize::try_from(declared.min(KEPT_IN_MEMORY)).unwrap_or_default();
    let mut kept = BytesMut::with_capacity(expected);
    while let Some(piece) = next_piece(payload, stall).await? {
        let length = kept.len() as u64 + piece.len() as u64;
        if length > rules.largest_body {
            return Ok(None);
        }
        if length > KEPT_IN_MEMORY {
            return spool_dump(payload, rules, [kept.freeze(), piece], stall).await;
        }
        kept.extend_from_slice(&piece);
    }
    Ok(Some(kept.freeze().into()))
}

/// Goes on reading into a temporary file.
async fn spool_dump(
    payload: &mut Payload,
    rules: &DumpRules,
    begun: [Bytes; 2],
    stall: Duration,
) -> Result<Option<ArtifactBody>, ApiError> {
    let mut sink = SpoolSink::new(&rules.spool, u64::MAX)?;
    let mut length = 0;
    for piece in begun {
        length += piece.len() as u64;
        sink = sink.take(piece).await?;
    }
    while let Some(piece) = next_piece(payload, stall).await? {
        length += piece.len() as u64;
        if length > rules.largest_body {
            return Ok(None);
        }
        sink = sink.take(piece).await?;
    }
    Ok(Some(sink.finish().await?.into()))
}
