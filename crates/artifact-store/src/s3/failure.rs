//! What went wrong between us and S3.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;

/// A request that S3 did not fulfil.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No byte moved, in either direction.
    #[error("nothing came for {limit:?}")]
    Stalled {
        /// How long was waited.
        limit: Duration,
    },
    /// An answer other than success.
    #[error("answered {status}{}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused {
        /// Status of the answer.
        status: StatusCode,
        /// S3's own word for it; none when the answer is not one of S3.
        code: Option<String>,
    },
    /// No connection, or one that broke.
    #[error("could not be reached")]
    Broken {
        /// Whether trying again at once can help.
        may_pass: bool,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// Success, but not what S3 says then.
    #[error("answered {status} without what S3 says then")]
    Strange {
        /// Status of the answer.
        status: StatusCode,
    },
    /// The address is none.
    #[error("has no valid address")]
    BadUrl,
}

impl Failure {
    /// The address is left out, because it may be shown to strangers.
    pub(crate) fn broken(error: reqwest::Error) -> Self {
        let sending = error.is_connect() || error.is_request();
        Self::Broken { may_pass: sending && !error.is_timeout(), source: error.without_url() }
    }

    /// Reads what an answer says.
    pub(crate) fn refused(status: StatusCode, body: &[u8]) -> Self {
        Self::Refused { status, code: error_code(&String::from_utf8_lossy(body)) }
    }

    /// Whether it says that the object is absent; nothing else does.
    pub(crate) fn is_absence(&self) -> bool {
        self.has(StatusCode::NOT_FOUND, "NoSuchKey")
    }

    /// Whether trying again at once can help; answers are not looked at.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Broken { may_pass: true, .. })
    }

    /// Whether the server does not know such requests at all.
    pub(crate) fn is_unknown_request(&self) -> bool {
        match self {
            Self::Refused { status, code } => {
                [StatusCode::NOT_IMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED].contains(status)
                    || code.as_deref() == Some("NotImplemented")
            }
            Self::Stalled { .. } | Self::Broken { .. } | Self::Strange { .. } | Self::BadUrl => {
                false
            }
        }
    }

    /// Whether the request may still be carried out. A word of S3's own ends it, and so does no
    /// connection; the page of a proxy tells nothing about the server behind it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_none(),
            Self::Broken { source, .. } => !source.is_connect(),
            Self::Stalled { .. } | Self::Strange { .. } => true,
            Self::BadUrl => false,
        }
    }

    /// Whether the range asked for begins behind the end of the object.
    pub(crate) fn is_behind_end(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. })
    }

    fn has(&self, wanted: StatusCode, word: &str) -> bool {
        matches!(self, Self::Refused { status, code: Some(code) } if *status == wanted && code == word)
    }

    /// The one that caused `error`, if any did.
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

/// Content of the element `Code`; only words, because it is logged.
pub(crate) fn error_code(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let word = !code.is_empty() && code.len() <= 64;
    (word && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| code.to_owned())
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
    fn texts_tell_status_and_code_and_nothing_else() {
        let denied = "<Error><Code>AccessDenied</Code><Message>secret</Message></Error>";
        assert_eq!(refused(403, denied).to_string(), "answered 403 Forbidden AccessDenied");
        let html = "<html><Code>a b</Code></html>";
        assert_eq!(refused(502, html).to_string(), "answered 502 Bad Gateway");
    }
}
