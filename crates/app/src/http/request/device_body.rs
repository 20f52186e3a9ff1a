//! Bodies that devices send (contract §4.5). They are read to the end before any answer, even an
//! error: a device whose socket is reset while it still writes aborts and reboots.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::spooled_file::SpoolDirectory;

use super::body::{declared_length, drain, next_piece, stall_of};
use super::error::{ApiError, ApiResult};
use super::spool::SpoolSink;

/// Bodies up to this size stay in memory; larger ones go to a temporary file (contract §1.6).
const MAX_IN_MEMORY: u64 = 1024 * 1024;

/// How much of a dump is read, and where large dumps are spooled.
pub struct DumpRules<'a> {
    pub max_body_bytes: u64,
    pub spool: &'a SpoolDirectory,
}

/// The body of a dump.
pub enum DumpBody {
    Complete(ArtifactBody),
    /// Larger than the limit; its bytes were dropped.
    TooLarge,
    /// The body could not be read to its end or not be written to a temporary file.
    Unread(ApiError),
}

impl DumpBody {
    /// Length of a complete body in bytes, otherwise 0.
    pub fn length(&self) -> u64 {
        match self {
            Self::Complete(body) => body.length(),
            Self::TooLarge | Self::Unread(_) => 0,
        }
    }
}

/// A dump that the middleware has read for its handler.
struct ReadDump(Cell<Option<DumpBody>>);

impl FromRequest for DumpBody {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let body = request.extensions().get::<ReadDump>().and_then(|read| read.0.take());
        ready(body.ok_or_else(|| ApiError::unexpected("the body of a dump was not read")))
    }
}

/// Reads the body of a `POST` of a device: a dump for its handler, if `dump` is set; any other body
/// is dropped.
pub async fn read_to_end(request: &mut ServiceRequest, dump: Option<DumpRules<'_>>) {
    let stall = stall_of(request.request());
    let declared = declared_length(request.request()).unwrap_or_default();
    let mut payload = request.take_payload();
    if let Some(rules) = dump {
        let body = DumpReader { payload: &mut payload, rules, stall }.read(declared).await;
        // No more bytes will arrive from a caller that hung up or stalled.
        let ended = body.as_ref().is_err_and(ApiError::is_refusal);
        let body = body.unwrap_or_else(DumpBody::Unread);
        request.extensions_mut().insert(ReadDump(Cell::new(Some(body))));
        if ended {
            return;
        }
    }
    drain(payload, stall).await;
}

struct DumpReader<'a> {
    payload: &'a mut Payload,
    rules: DumpRules<'a>,
    stall: Duration,
}

impl DumpReader<'_> {
    /// Reads a dump up to the limit; the caller drains the rest.
    async fn read(&mut self, declared: u64) -> ApiResult<DumpBody> {
        if declared > self.rules.max_body_bytes {
            return Ok(DumpBody::TooLarge);
        }
        let expected = usize::try_from(declared.min(MAX_IN_MEMORY)).unwrap_or_default();
        let mut body = BytesMut::with_capacity(expected);
        while let Some(piece) = next_piece(self.payload, self.stall).await? {
            let length = body.len() as u64 + piece.len() as u64;
            if length > self.rules.max_body_bytes {
                return Ok(DumpBody::TooLarge);
            }
            if length > MAX_IN_MEMORY {
                return self.spool([body.freeze(), piece]).await;
            }
            body.extend_from_slice(&piece);
        }
        Ok(DumpBody::Complete(body.freeze().into()))
    }

    /// Continues in a temporary file, which begins with the pieces read so far.
    async fn spool(&mut self, begun: [Bytes; 2]) -> ApiResult<DumpBody> {
        let mut sink = SpoolSink::new(self.rules.spool, u64::MAX)?;
        let mut length = 0;
        for piece in begun {
            length += piece.len() as u64;
            sink = sink.push(piece).await?;
        }
        while let Some(piece) = next_piece(self.payload, self.stall).await? {
            length += piece.len() as u64;
            if length > self.rules.max_body_bytes {
                return Ok(DumpBody::TooLarge);
            }
            sink = sink.push(piece).await?;
        }
        Ok(DumpBody::Complete(sink.finish().await?.into()))
    }
}
