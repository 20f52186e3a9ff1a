//! Bodies that are sent raw or as the only part, `file`, of a multipart body (contract §5.2).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix_multipart::{Multipart, MultipartError};
use actix_web::http::header::{self, HeaderMap};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use futures::StreamExt;
use futures::stream::poll_fn;

use super::body::{UnreadBody, drain, in_time, stall_of};
use super::error::{ApiError, ApiResult};
use super::spool::SpoolSink;

/// A refused caller that sends no byte for this long is not waited for any longer.
const SHORT_SILENCE: Duration = Duration::from_secs(2);
/// Bytes that boundaries and headers of a multipart body may add to its file.
const MULTIPART_OVERHEAD: u64 = 64 * 1024;

impl UnreadBody {
    /// Reads the raw body or its only part, `file`, into a temporary file. It may be empty.
    pub async fn into_uploaded_file(self, spool: &SpoolDirectory) -> ApiResult<SpooledFile> {
        if is_multipart(self.request.headers()) {
            self.check_declared(self.limit.saturating_add(MULTIPART_OVERHEAD))?;
            self.into_part(spool).await
        } else {
            self.into_file(spool).await
        }
    }

    /// The multipart reader drops the payload when it fails, and a connection whose payload is
    /// dropped while it waits for room may never be read again. So the rest of the body is read
    /// here first.
    async fn into_part(self, spool: &SpoolDirectory) -> ApiResult<SpooledFile> {
        let Self { request, payload, limit } = self;
        let payload = Rc::new(RefCell::new(payload));
        let shared = Rc::clone(&payload);
        let pieces = poll_fn(move |context| shared.borrow_mut().poll_next_unpin(context));
        let parts = Multipart::new(request.headers(), pieces);
        let sink = || SpoolSink::new(spool, limit);
        let outcome = read_file_part(parts, sink, stall_of(&request)).await;
        if outcome.is_err() {
            let rest = poll_fn(|context| payload.borrow_mut().poll_next_unpin(context));
            drain(rest, SHORT_SILENCE).await;
        }
        outcome
    }
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("multipart/form-data")
    })
}

async fn read_file_part(
    mut parts: Multipart,
    new_sink: impl Fn() -> ApiResult<SpoolSink>,
    stall: Duration,
) -> ApiResult<SpooledFile> {
    let malformed =
        |error: MultipartError| ApiError::invalid(format!("expected a multipart body: {error}"));
    let mut file = None;
    while let Some(part) = in_time(parts.next(), stall).await? {
        let mut part = part.map_err(malformed)?;
        if part.name() != Some("file") || file.is_some() {
            let name = part.name().unwrap_or_default();
            let message = format!("expected one part, named file; found a part named {name:?}");
            return Err(ApiError::invalid(message));
        }
        let mut sink = new_sink()?;
        while let Some(piece) = in_time(part.next(), stall).await? {
            sink = sink.push(piece.map_err(malformed)?).await?;
        }
        file = Some(sink.finish().await?);
    }
    file.ok_or_else(|| ApiError::invalid("expected one part, named file; found none"))
}
