//! Conditions and ranges of a request for an artifact (contract §5.12).

use std::ops::Range;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue, HttpDate};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::timestamp::Timestamp;

/// The object that the conditions and ranges of a request refer to.
#[derive(Debug, Clone, Copy)]
pub struct Representation {
    /// Length in bytes.
    pub size: u64,
    /// Digest of the whole object; its hex form is the `ETag`.
    pub sha256: Sha256Digest,
    /// Time of the upload.
    pub modified: Timestamp,
}

/// The kind of the answer, which is known before its bytes are read.
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

    /// The bytes to read; `None` for an answer without bytes of the object.
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
    /// All lines of a list header as one line; bytes which are not UTF-8 match nothing.
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

    /// Whether `If-Range` is absent, or names the current `ETag` or the exact `Last-Modified`.
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

/// The whole object, unless `text` is one well-formed range of bytes.
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

/// Orders numbers of any length by value.
fn magnitude(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// A start behind the end is answered with 416 only if the range is well-formed.
fn not_satisfiable(last: &str) -> Plan {
    if last.is_empty() || offset(last).is_some() { Plan::NotSatisfiable } else { Plan::Whole }
}

fn suffix(length: u64, size: u64) -> Plan {
    let length = length.min(size);
    if length == 0 { Plan::NotSatisfiable } else { Plan::Part(size - length..size) }
}

/// Digits only. A number that does not fit 64 bits is behind the end of every object.
fn offset(digits: &str) -> Option<u64> {
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_the_contract_says() {
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
