//! Sends artifacts (contract §5.12). A body is complete, or its connection is closed before its
//! end.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::http::header::{self, HttpDate};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::artifacts::verified_reads::ArtifactBytes;
use futures::{Stream, StreamExt};

use super::conditions::{Plan, Representation};
use super::error::{ApiError, ApiResult, ErrorCode};
use super::exchange::ExchangeContext;
use super::in_flight::InFlight;
use crate::metrics::Metrics;

/// The first body write has at least this many bytes, because a device judges an image by its
/// first read.
const FIRST_WRITE: usize = 1024;

/// The label `kind` of the metrics of downloads.
#[derive(Debug, Clone, Copy)]
pub enum DownloadKind {
    /// A current image.
    Firmware,
    /// Any other artifact of a version.
    Artifact,
    Coredump,
}

impl DownloadKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Artifact => "artifact",
            Self::Coredump => "coredump",
        }
    }
}

pub struct Download<'a> {
    pub request: &'a HttpRequest,
    pub object: Representation,
    pub kind: DownloadKind,
    /// The name in `Content-Disposition`.
    pub file_name: String,
    /// Further headers of 200, 206 and 304.
    pub extra: Vec<(&'static str, String)>,
    pub metrics: &'a web::Data<Metrics>,
}

impl Download<'_> {
    /// Answers with `body`, which contains the bytes of [`Plan::range`].
    pub fn answer(self, body: Option<ArtifactBytes>) -> ApiResult<HttpResponse> {
        let size = self.object.size;
        match Plan::of(self.request, self.object) {
            Plan::NotModified => {
                self.count("not_modified");
                let mut response = HttpResponse::build(StatusCode::NOT_MODIFIED);
                self.common_headers(&mut response);
                Ok(response.finish())
            }
            Plan::PreconditionFailed => Err(ApiError::new(
                ErrorCode::PreconditionFailed,
                "the object does not have the ETag or date that the condition names",
            )),
            Plan::NotSatisfiable => Err(ApiError::range_not_satisfiable(size)),
            Plan::Whole => Ok(self.send(StatusCode::OK, 0..size, body)),
            Plan::Part(range) => Ok(self.send(StatusCode::PARTIAL_CONTENT, range, body)),
        }
    }

    fn send(
        self,
        status: StatusCode,
        range: Range<u64>,
        body: Option<ArtifactBytes>,
    ) -> HttpResponse {
        let length = range.end - range.start;
        let mut response = HttpResponse::build(status);
        self.common_headers(&mut response);
        if status == StatusCode::PARTIAL_CONTENT {
            let last = range.end.saturating_sub(1);
            let value = format!("bytes {}-{last}/{}", range.start, self.object.size);
            response.insert_header((header::CONTENT_RANGE, value));
        }
        match body {
            Some(bytes) if self.request.method() != Method::HEAD => {
                let tally = Tally::begin(&self, length);
                let file_name = self.file_name;
                response.body(SizedStream::new(
                    length,
                    CountedBody { bytes, tally, file_name, first: None },
                ))
            }
            Some(_) | None => response.body(DeclaredLength(length)),
        }
    }

    fn common_headers(&self, response: &mut HttpResponseBuilder) {
        let modified = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(self.object.modified.seconds().unsigned_abs());
        response
            .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
            .insert_header((header::ETAG, format!("\"{}\"", self.object.sha256)))
            .insert_header((header::LAST_MODIFIED, HttpDate::from(modified)))
            .insert_header((header::ACCEPT_RANGES, "bytes"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((
                header::CONTENT_DISPOSITION,
                format!("attachment; filename={}", self.file_name),
            ));
        for (name, value) in &self.extra {
            response.insert_header((*name, value.as_str()));
        }
    }

    fn count(&self, outcome: &str) {
        self.metrics.downloads.with_label_values(&[self.kind.as_str(), outcome]).inc();
    }
}

/// A body with a length and without bytes: the answer to `HEAD`.
struct DeclaredLength(u64);

impl MessageBody for DeclaredLength {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// Counts a transfer when it is dropped, so that an aborted one counts too.
struct Tally {
    kind: &'static str,
    left: u64,
    sent: u64,
    whole: bool,
    failed: bool,
    metrics: web::Data<Metrics>,
    _in_flight: Option<InFlight>,
}

impl Tally {
    fn begin(download: &Download<'_>, length: u64) -> Self {
        let kind = download.kind.as_str();
        let gauge = download.metrics.downloads_active.with_label_values(&[kind]);
        let context = download.request.app_data::<web::Data<ExchangeContext>>();
        Self {
            kind,
            left: length,
            sent: 0,
            whole: length == download.object.size,
            failed: false,
            metrics: download.metrics.clone(),
            _in_flight: context.map(|context| context.in_flight.enter(gauge)),
        }
    }

    fn outcome(&self) -> &'static str {
        match (self.failed, self.left, self.whole) {
            (true, _, _) => "failed",
            (false, 0, true) => "complete",
            (false, 0, false) => "partial",
            (false, _, _) => "aborted",
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let metrics = &self.metrics;
        metrics.downloads.with_label_values(&[self.kind, self.outcome()]).inc();
        metrics.download_bytes.with_label_values(&[self.kind]).inc_by(self.sent);
    }
}

/// Passes pieces on and counts their bytes. The first piece has at least `FIRST_WRITE` bytes.
struct CountedBody {
    bytes: ArtifactBytes,
    tally: Tally,
    file_name: String,
    first: Option<BytesMut>,
}

impl CountedBody {
    /// Whether `collected` bytes suffice for the first write.
    fn first_is_ready(&self, collected: usize) -> bool {
        let needed = usize::try_from(self.tally.left).unwrap_or(usize::MAX).min(FIRST_WRITE);
        self.tally.sent > 0 || collected >= needed
    }

    fn pass(&mut self, piece: Bytes) -> Poll<Option<Result<Bytes, ArtifactStoreError>>> {
        self.tally.sent += piece.len() as u64;
        self.tally.left = self.tally.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Stream for CountedBody {
    type Item = Result<Bytes, ArtifactStoreError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let piece = match std::task::ready!(this.bytes.poll_next_unpin(context)) {
                None => return Poll::Ready(None),
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    this.tally.failed = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "download of {} was cut: its object could not be read to the end",
                        this.file_name
                    );
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let collected = this.first.as_ref().map_or(0, BytesMut::len) + piece.len();
            let ready = this.first_is_ready(collected);
            match (this.first.take(), ready) {
                (None, true) => return this.pass(piece),
                (collected, _) => {
                    let mut first = collected.unwrap_or_default();
                    first.extend_from_slice(&piece);
                    if ready {
                        return this.pass(first.freeze());
                    }
                    this.first = Some(first);
                }
            }
        }
    }
}
