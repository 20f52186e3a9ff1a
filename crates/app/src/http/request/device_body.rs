//! Bodies devices send (contract §4.5): read to the end before anything is answered, errors
//! included. A device whose socket is reset while it still writes aborts and reboots.

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

/// What a request keeps of its body in memory; the rest goes to a temporary file (contract §1.6).
const KEPT_IN_MEMORY: u64 = 1024 * 1024;

/// How much of a dump is read, and where large ones are spooled.
pub struct DumpRules<'a> {
    pub largest_body: u64,
    pub spool: &'a SpoolDirectory,
}

/// The body of a dump.
pub enum DumpBody {
    Complete(ArtifactBody),
    /// It is larger than the limit, and was not kept.
    TooLarge,
    /// It could not be read to its end, or not be written to a temporary file.
    Unread(ApiError),
}

impl DumpBody {
    /// Bytes which were kept.
    pub fn length(&self) -> u64 {
        match self {
            Self::Complete(body) => body.length(),
            Self::TooLarge | Self::Unread(_) => 0,
        }
    }
}

/// A body that waits for its handler.
struct Waiting(Cell<Option<DumpBody>>);

impl FromRequest for DumpBody {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let waiting = request.extensions().get::<Waiting>().and_then(|waiting| waiting.0.take());
        ready(waiting.ok_or_else(|| ApiError::unexpected("the body of a dump was not read")))
    }
}

/// Reads the body of a `POST` of a device: a dump for its handler (`dump` says how), any other to
/// drop it.
pub async fn read_to_end(request: &mut ServiceRequest, dump: Option<DumpRules<'_>>) {
    let stall = stall_of(request.request());
    let declared = declared_length(request.request()).unwrap_or_default();
    let mut payload = request.take_payload();
    if let Some(rules) = dump {
        let body = DumpReader { payload: &mut payload, rules, stall }.read(declared).await;
        // Nothing more will come from a caller that broke off or fell silent.
        let ended = body.as_ref().is_err_and(ApiError::is_refusal);
        let body = body.unwrap_or_else(DumpBody::Unread);
        request.extensions_mut().insert(Waiting(Cell::new(Some(body))));
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
    /// Reads a dump as far as the limit goes; what comes behind is left to be drained.
    async fn read(&mut self, declared: u64) -> ApiResult<DumpBody> {
        if declared > self.rules.largest_body {
            return Ok(DumpBody::TooLarge);
        }
        let expected = usize::try_from(declared.min(KEPT_IN_MEMORY)).unwrap_or_default();
        let mut kept = BytesMut::with_capacity(expected);
        while let Some(piece) = next_piece(self.payload, self.stall).await? {
            let length = kept.len() as u64 + piece.len() as u64;
            if length > self.rules.largest_body {
                return Ok(DumpBody::TooLarge);
            }
            if length > KEPT_IN_MEMORY {
                return self.spool([kept.freeze(), piece]).await;
            }
            kept.extend_from_slice(&piece);
        }
        Ok(DumpBody::Complete(kept.freeze().into()))
    }

    /// Goes on reading into a temporary file, behind what was read so far.
    async fn spool(&mut self, begun: [Bytes; 2]) -> ApiResult<DumpBody> {
        let mut sink = SpoolSink::new(self.rules.spool, u64::MAX)?;
        let mut length = 0;
        for piece in begun {
            length += piece.len() as u64;
            sink = sink.push(piece).await?;
        }
        while let Some(piece) = next_piece(self.payload, self.stall).await? {
            length += piece.len() as u64;
            if length > self.rules.largest_body {
                return Ok(DumpBody::TooLarge);
            }
            sink = sink.push(piece).await?;
        }
        Ok(DumpBody::Complete(sink.finish().await?.into()))
    }
}
