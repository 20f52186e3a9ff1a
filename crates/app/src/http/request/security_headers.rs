//! Headers that keep a browser from doing more with an answer than showing it.

use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::http::routes::row::Class;

/// Answers of the API are data: they load nothing, and no page frames them. Addresses of pages may
/// contain names of devices, which other sites need not know.
const HEADERS: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "same-origin"),
];

/// Adds the headers which an answer does not have, unless only machines read it: devices pay for
/// each byte.
pub(super) fn add(class: Class, headers: &mut HeaderMap) {
    if matches!(class, Class::Device | Class::Pipeline) {
        return;
    }
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
