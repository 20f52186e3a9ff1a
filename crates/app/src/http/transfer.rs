//! Sends artifacts (contract §5.12): conditions, ranges, and a body that is whole or visibly cut.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::http::header::{self, HeaderMap, HeaderValue, HttpDate};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::{Bytes, BytesMut};
use coredock_domain::artifact_store::ArtifactStoreError;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::read::ArtifactBytes;
use coredock_domain::timestamp::Timestamp;
use futures::{Stream, StreamExt};

use super::error::{ApiError, ErrorCode};
use crate::metrics::Metrics;

/// The first body write has at least this many bytes, because a device judges an image by its
/// first read.
const FIRST_WRITE: usize = 1024;

/// What a client may ask conditions about.
#[derive(Debug, Clone, Copy)]
pub struct Representation {
    /// Length in bytes.
    pub size: u64,
    /// Digest of the whole object; its hex form is the `ETag`.
    pub sha256: Sha256Digest,
    /// When it was made.
    pub modified: Timestamp,
}

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416
    NotSatisfiable,
    /// 200
    Whole,
    /// 206 with these bytes.
    Part(Range<u64>),
}

impl Plan {
    /// Decides by the headers, in the order of RFC 9110 §13.2.2.
    pub fn of(request: &HttpRequest, object: Representation) -> Self {
        let conditions = Conditions { headers: request.headers(), object };
        if conditions.precondition_fails() {
            return Self::PreconditionFailed;
        }
        if conditions.not_modified() {
            return Self::NotModified;
        }
        if request.method() == Method::HEAD || !conditions.range_applies() {
            return Self::Whole;
        }
        let range = conditions.text(&header::RANGE);
        range.map_or(Self::Whole, |text| range_plan(text, object.size))
    }

    /// The bytes to read; `None` when the answer has none of the object.
    pub fn range(&self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole => Some(0..size),
            Self::Part(range) => Some(range.clone()),
            Self::NotModified | Self::PreconditionFailed | Self::NotSatisfiable => None,
        }
    }
}

struct Conditions<'a> {
    headers: &'a HeaderMap,
    object: Representation,
}

impl Conditions<'_> {
    /// All lines of a list header as one; bytes that are no text match nothing.
    fn list(&self, name: &header::HeaderName) -> Option<String> {
        let lines: Vec<_> = self.headers.get_all(name).map(HeaderValue::as_bytes).collect();
        (!lines.is_empty())
            .then(|| String::from_utf8_lossy(&lines.join(b",".as_slice())).into_owned())
    }

    fn text(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.object.sha256)
    }

    /// Seconds since the epoch of a date header.
    fn date(&self, name: &header::HeaderName) -> Option<i64> {
        seconds_of(self.text(name)?)
    }

    fn lists_etag(&self, list: &str, weak: bool) -> bool {
        let etag = self.etag();
        list.split(',').map(str::trim).any(|item| {
            let strong = if weak { item.strip_prefix("W/").unwrap_or(item) } else { item };
            strong == "*" || strong == etag
        })
    }

    fn precondition_fails(&self) -> bool {
        if let Some(list) = self.list(&header::IF_MATCH) {
            return !self.lists_etag(&list, false);
        }
        let since = self.date(&header::IF_UNMODIFIED_SINCE);
        since.is_some_and(|since| self.object.modified.seconds() > since)
    }

    fn not_modified(&self) -> bool {
        if let Some(list) = self.list(&header::IF_NONE_MATCH) {
            return self.lists_etag(&list, true);
        }
        let since = self.date(&header::IF_MODIFIED_SINCE);
        since.is_some_and(|since| self.object.modified.seconds() <= since)
    }

    /// `If-Range` holds with the current `ETag` or the exact `Last-Modified`, or is absent.
    fn range_applies(&self) -> bool {
        let Some(validator) = self.text(&header::IF_RANGE) else { return true };
        validator == self.etag() || seconds_of(validator) == Some(self.object.modified.seconds())
    }
}

fn seconds_of(date: &str) -> Option<i64> {
    let time = std::time::SystemTime::from(date.parse::<HttpDate>().ok()?);
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Whole for everything that is not one well-formed range of bytes.
fn range_plan(text: &str, size: u64) -> Plan {
    let Some((unit, spec)) = text.split_once('=') else { return Plan::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Plan::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Plan::Whole;
    }
    let (first_digits, last_digits) = (first.trim(), last.trim());
    match (offset(first_digits), offset(last_digits)) {
        (Some(_), Some(_)) if magnitude(first_digits) > magnitude(last_digits) => Plan::Whole,
        (Some(first), _) if first >= size => not_satisfiable(last_digits),
        (Some(first), Some(last)) => Plan::Part(first..last.saturating_add(1).min(size)),
        (Some(first), None) if last_digits.is_empty() => Plan::Part(first..size),
        (None, Some(length)) if first_digits.is_empty() => suffix(length, size),
        _ => Plan::Whole,
    }
}

/// Orders digits by value, however many there are.
fn magnitude(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// A start past the end is only an answer to a well-formed range.
fn not_satisfiable(last: &str) -> Plan {
    if last.is_empty() || offset(last).is_some() { Plan::NotSatisfiable } else { Plan::Whole }
}

fn suffix(length: u64, size: u64) -> Plan {
    let length = length.min(size);
    if length == 0 { Plan::NotSatisfiable } else { Plan::Part(size - length..size) }
}

/// Digits only; what does not fit 64 bits is past every end.
fn offset(digits: &str) -> Option<u64> {
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// What downloads are counted as.
#[derive(Debug, Clone, Copy)]
pub enum DownloadKind {
    /// A current image.
    Firmware,
    /// Any other artifact of a version.
    Artifact,
}

impl DownloadKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Artifact => "artifact",
        }
    }
}

/// One download about to be answered.
pub struct Download<'a> {
    /// The request.
    pub request: &'a HttpRequest,
    /// The object.
    pub object: Representation,
    /// What it is counted as.
    pub kind: DownloadKind,
    /// The name to save it under.
    pub file_name: String,
    /// Further headers of 200, 206 and 304.
    pub extra: Vec<(&'static str, String)>,
    /// Where it is counted.
    pub metrics: &'a web::Data<Metrics>,
}

impl Download<'_> {
    /// Answers with `body`, which holds the bytes [`Plan::range`] asked for.
    pub fn answer(self, body: Option<ArtifactBytes>) -> Result<HttpResponse, ApiError> {
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
                "the object is not the one the condition names",
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
                response.body(SizedStream::new(length, Counted { bytes, tally, first: None }))
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

/// A body that is announced and not sent: the answer to `HEAD`.
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

/// Counts a transfer when it ends, however it ends.
struct Tally {
    kind: &'static str,
    left: u64,
    sent: u64,
    whole: bool,
    failed: bool,
    metrics: web::Data<Metrics>,
}

impl Tally {
    fn begin(download: &Download<'_>, length: u64) -> Self {
        let kind = download.kind.as_str();
        download.metrics.downloads_active.with_label_values(&[kind]).inc();
        Self {
            kind,
            left: length,
            sent: 0,
            whole: length == download.object.size,
            failed: false,
            metrics: download.metrics.clone(),
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
        metrics.downloads_active.with_label_values(&[self.kind]).dec();
        metrics.downloads.with_label_values(&[self.kind, self.outcome()]).inc();
        metrics.download_bytes.with_label_values(&[self.kind]).inc_by(self.sent);
    }
}

/// Passes bytes on, the first piece large enough, and counts them.
struct Counted {
    bytes: ArtifactBytes,
    tally: Tally,
    first: Option<BytesMut>,
}

impl Counted {
    /// Whether `first` holds as much as the first write must have.
    fn first_is_ready(&self, collected: usize) -> bool {
        let wanted = usize::try_from(self.tally.left).unwrap_or(usize::MAX).min(FIRST_WRITE);
        self.tally.sent > 0 || collected >= wanted
    }

    fn pass(&mut self, piece: Bytes) -> Poll<Option<Result<Bytes, ArtifactStoreError>>> {
        self.tally.sent += piece.len() as u64;
        self.tally.left = self.tally.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Stream for Counted {
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
                        "a download was cut because its object could not be read to the end"
                    );
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let collected = this.first.as_ref().map_or(0, BytesMut::len) + piece.len();
            let ready = this.first_is_ready(collected);
            match (this.first.take(), ready) {
                (None, true) => return this.pass(piece),
                (held, _) => {
                    let mut first = held.unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_contract_says() {
        let part = |start, end| Plan::Part(start..end);
        let cases = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 4096)),
            ("bytes=2048-4096", part(2048, 4096)),
            ("bytes=4000-99999", part(4000, 4096)),
            ("bytes=-16", part(4080, 4096)),
            ("bytes=-9999", part(0, 4096)),
            ("bytes=4096-", Plan::NotSatisfiable),
            ("bytes=-0", Plan::NotSatisfiable),
            ("bytes=99999999999999999999999-", Plan::NotSatisfiable),
            ("bytes=0-99999999999999999999999", part(0, 4096)),
            ("bytes=9-1", Plan::Whole),
            ("bytes=99999999999999999999999-99999999999999999999998", Plan::Whole),
            ("bytes=0009-0010", part(9, 11)),
            ("bytes=0-9,20-29", Plan::Whole),
            ("bytes=abc", Plan::Whole),
            ("bytes=-", Plan::Whole),
            ("bytes=5000-x", Plan::Whole),
            ("bytes=+1-2", Plan::Whole),
            ("items=0-1", Plan::Whole),
            ("bytes", Plan::Whole),
        ];
        for (text, plan) in cases {
            assert_eq!(range_plan(text, 4096), plan, "{text}");
        }
    }
}
