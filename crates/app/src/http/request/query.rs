//! Queries. Percent-encoding is decoded exactly once, and `+` stays a plus (contract §1.1).

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use coredock_domain::fields::FieldFault;
use percent_encoding::percent_decode_str;

use super::error::{ApiError, ApiResult};

/// The decoded text, or `None` when a percent sequence is broken or the bytes are not UTF-8.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    // The crate leaves broken sequences as they are; here they are refused.
    let starts_with_hex = |rest: &str| {
        rest.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    let complete = text.split('%').skip(1).all(starts_with_hex);
    complete.then(|| percent_decode_str(text).decode_utf8().ok())?
}

/// The parameters of a query.
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// `query` is the part of a URL behind `?`.
    pub const fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The first value of `name`, decoded. Fails if it cannot be decoded.
    pub fn get(&self, name: &str) -> Result<Option<String>, FieldFault> {
        let raw = self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key).as_deref() == Some(name)).then_some(value)
        });
        let Some(raw) = raw else { return Ok(None) };
        let not_text = || FieldFault::new(name, "must be percent-encoded UTF-8");
        let decoded = percent_decode(raw).ok_or_else(not_text)?;
        Ok(Some(decoded.into_owned()))
    }
}

/// A type that the parameters of a query are parsed into.
pub trait FromQuery: Sized {
    /// Reports all faults together (contract §2.3).
    fn from_query(fields: QueryFields<'_>) -> ApiResult<Self>;
}

/// Parameters of a query without faults.
pub struct ValidQuery<T>(pub T);

impl<T: FromQuery> FromRequest for ValidQuery<T> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(T::from_query(QueryFields::new(request.query_string())).map(Self))
    }
}

/// Reads the parameters of a query one by one and collects all faults (contract §2.3).
pub struct QueryFields<'a> {
    query: Query<'a>,
    faults: Vec<FieldFault>,
}

impl<'a> QueryFields<'a> {
    /// `query` is the part of a URL behind `?`.
    pub const fn new(query: &'a str) -> Self {
        Self { query: Query::new(query), faults: Vec::new() }
    }

    /// A parameter that may be absent; `rule` says what it must be when `read` refuses it.
    pub fn optional<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = match self.query.get(name) {
            Ok(text) => text?,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        if text.contains('\0') {
            self.faults.push(FieldFault::new(name, "must not contain NUL"));
            return None;
        }
        let value = read(&text);
        if value.is_none() {
            self.faults.push(FieldFault::new(name, rule));
        }
        value
    }

    /// A parameter that must be present.
    pub fn required<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let faults = self.faults.len();
        let value = self.optional(name, rule, read);
        if value.is_none() && self.faults.len() == faults {
            self.faults.push(FieldFault::new(name, rule));
        }
        value
    }

    /// Fails with all faults that were found.
    pub fn finish(self) -> Result<(), Vec<FieldFault>> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_plus_stays() {
        let query = Query::new("a=1.0.0+5&a=2&b=%2525&c&d=a%20b");
        assert_eq!(query.get("a").unwrap().as_deref(), Some("1.0.0+5"));
        assert_eq!(query.get("b").unwrap().as_deref(), Some("%25"));
        assert_eq!(query.get("c").unwrap().as_deref(), Some(""));
        assert_eq!(query.get("d").unwrap().as_deref(), Some("a b"));
        assert_eq!(query.get("e").unwrap(), None);
    }

    #[test]
    fn broken_sequences_and_foreign_bytes_are_faults() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%%41", "a=%4%31", "a=%+1", "a=%é"] {
            assert_eq!(Query::new(query).get("a").unwrap_err().field, "a", "{query}");
        }
    }
}
