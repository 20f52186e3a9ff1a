//! Failures of requests to S3.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;

/// A request that S3 did not fulfil.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("S3 transferred no byte in either direction for {limit:?}")]
    Stalled { limit: Duration },
    /// An answer other than success.
    #[error("S3 answered {status}{}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused {
        status: StatusCode,
        /// The error code of S3; `None` when the answer has none, such as the page of a proxy.
        code: Option<String>,
    },
    /// The connection could not be made, or broke.
    #[error("S3 could not be reached")]
    Broken {
        /// Whether a retry at once may succeed.
        may_pass: bool,
        #[source]
        source: reqwest::Error,
    },
    /// A success without the header or the document that S3 sends with it.
    #[error("S3 answered {status} without the expected ETag or document")]
    Unproven { status: StatusCode },
    #[error("the URL of the request to S3 is not valid")]
    BadUrl,
}

impl Failure {
    /// Removes the URL from the error, because its text may be shown to callers.
    pub(crate) fn broken(error: reqwest::Error) -> Self {
        let sending = error.is_connect() || error.is_request();
        Self::Broken { may_pass: sending && !error.is_timeout(), source: error.without_url() }
    }

    pub(crate) fn refused(status: StatusCode, body: &[u8]) -> Self {
        Self::Refused { status, code: error_code(&String::from_utf8_lossy(body)) }
    }

    /// Whether it says that the object is absent; no other status and code do.
    pub(crate) fn is_absence(&self) -> bool {
        let Self::Refused { status, code } = self else { return false };
        *status == StatusCode::NOT_FOUND && code.as_deref() == Some("NoSuchKey")
    }

    /// Whether a retry at once may succeed. Refusals are judged by the transport, by their status.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Broken { may_pass: true, .. })
    }

    /// Whether the server does not implement requests of this kind.
    pub(crate) fn is_unknown_request(&self) -> bool {
        match self {
            Self::Refused { status, code } => {
                [StatusCode::NOT_IMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED].contains(status)
                    || code.as_deref() == Some("NotImplemented")
            }
            Self::Stalled { .. } | Self::Broken { .. } | Self::Unproven { .. } | Self::BadUrl => {
                false
            }
        }
    }

    /// Whether the server may still carry out the request. It will not after an error code of S3,
    /// or without a connection; the page of a proxy says nothing about the server behind it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_none(),
            Self::Broken { source, .. } => !source.is_connect(),
            Self::Stalled { .. } | Self::Unproven { .. } => true,
            Self::BadUrl => false,
        }
    }

    /// Whether the requested range begins behind the end of the object.
    pub(crate) fn is_behind_end(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. })
    }

    /// The failure among the sources of `error`.
    pub(crate) fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref() {
                return Some(failure);
            }
            cause = error.source();
        }
        None
    }
}

/// The content of the element `Code`, if it is short and alphanumeric, because it is logged.
pub(crate) fn error_code(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_short = !code.is_empty() && code.len() <= 64;
    (is_short && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Failure {
        Failure::refused(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn only_no_such_key_is_absence() {
        let error = |code| format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
        assert!(refused(404, &error("NoSuchKey")).is_absence());
        assert!(!refused(404, &error("NoSuchBucket")).is_absence());
        assert!(!refused(403, &error("NoSuchKey")).is_absence());
        assert!(!refused(404, "<html>404 NoSuchKey</html>").is_absence());
        assert!(!refused(404, "").is_absence());
    }

    #[test]
    fn texts_contain_status_and_code_only() {
        let denied = "<Error><Code>AccessDenied</Code><Message>secret</Message></Error>";
        assert_eq!(refused(403, denied).to_string(), "S3 answered 403 Forbidden AccessDenied");
        let html = "<html><Code>a b</Code></html>";
        assert_eq!(refused(502, html).to_string(), "S3 answered 502 Bad Gateway");
    }
}
