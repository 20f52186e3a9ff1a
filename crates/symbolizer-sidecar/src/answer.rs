//! The answers of the sidecar (contract §6.5, §6.11).

use std::fmt;

use coredock_domain::coredumps::coredump::ParseErrorCode;
use coredock_domain::symbolication::symbolizer::SymbolizerError;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{Error, Visitor};

use crate::excerpt::excerpt;

pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Longest body of a refusal that is read for its reason.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

pub(crate) async fn report(response: Response) -> Result<String, SymbolizerError> {
    let status = response.status();
    if status.is_success() {
        let body = read(response, MAX_ANSWER_BYTES).await.map_err(read_failed)?;
        let body = body.ok_or_else(|| {
            failed(
                "expected an answer of at most 16 MiB from the sidecar, found a longer one",
                None,
            )
        })?;
        return output(&body);
    }
    if status.is_client_error() {
        // A body that cannot be read leaves the status as the only reason.
        let body = read(response, MAX_REFUSAL_BYTES).await.ok().flatten();
        return Err(refused(status, body.and_then(|body| excerpt(&body))));
    }
    Err(failed(&format!("the sidecar answered with status {}", status.as_u16()), None))
}

pub(crate) fn request_failed(error: reqwest::Error) -> SymbolizerError {
    let reason = if error.is_timeout() {
        return timed_out();
    } else if error.is_connect() {
        "the sidecar could not be reached"
    } else {
        "the sidecar did not answer"
    };
    failed(reason, Some(error.without_url().into()))
}

/// The time limit of the attempt has passed.
pub(crate) fn timed_out() -> SymbolizerError {
    failed("the sidecar did not answer in time", None)
}

fn read_failed(error: reqwest::Error) -> SymbolizerError {
    if error.is_timeout() {
        return timed_out();
    }
    failed(
        "the connection to the sidecar broke off during its answer",
        Some(error.without_url().into()),
    )
}

/// The body, or `None` if it has more than `limit` bytes.
async fn read(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if piece.len() > limit - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

fn output(body: &[u8]) -> Result<String, SymbolizerError> {
    // The derived reader would accept an array in place of an object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(failed("expected a JSON object from the sidecar, found something else", None));
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => Ok(answer.output.map(|Text(text)| text).unwrap_or_default()),
        Err(error) => {
            let reason = "expected a JSON object with a string \"output\" from the sidecar, found something else";
            Err(failed(reason, Some(error.into())))
        }
    }
}

fn refused(status: StatusCode, excerpt: Option<String>) -> SymbolizerError {
    let mut reason = format!("the sidecar refused the dump with status {}", status.as_u16());
    if let Some(excerpt) = excerpt {
        reason.push_str(": ");
        reason.push_str(&excerpt);
    }
    SymbolizerError::Rejected { code: ParseErrorCode::EngineRefused, reason }
}

fn failed(
    reason: &str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> SymbolizerError {
    SymbolizerError::Failed { reason: reason.to_owned(), source }
}

/// Other members are skipped.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    output: Option<Text>,
}

/// A JSON string. Bytes that are not UTF-8, and lone surrogates, become replacement characters
/// (contract §6.8): a debugger prints both for memory that it takes for text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_an_object_is_the_report() {
        for (body, expected) in [
            (&br#"{"output":"bt\nline"}"#[..], "bt\nline"),
            (b" \r\n{\"status\":{\"output\":1},\"output\":\"bt\",\"more\":[1,[2]]} ", "bt"),
            (br#"{"output":null}"#, ""),
            (b"{}", ""),
            (br#"{"output":""}"#, ""),
            (br#"{"output":"nul\u0000 \u00e9 \ud83d\ude00"}"#, "nul\0 é 😀"),
            (b"{\"output\":\"a\xffb\"}", "a\u{fffd}b"),
        ] {
            assert_eq!(output(body).unwrap(), expected);
        }
        let lone = output(br#"{"output":"a\udcffb"}"#).unwrap();
        assert!(lone.starts_with("a\u{fffd}") && lone.ends_with('b'), "{lone:?}");
    }

    #[test]
    fn anything_else_is_bad_json_worth_another_attempt() {
        let deep = format!("{{\"more\":{}", "[".repeat(100_000));
        for body in [
            "",
            "bt",
            "null",
            "\"bt\"",
            "[\"bt\"]",
            "[{\"output\":\"bt\"}]",
            "{\"output\":\"bt\"",
            "{\"output\":\"bt\"} {}",
            "{\"output\":[98,116]}",
            "{\"output\":17}",
            "{\"output\":{\"text\":\"bt\"}}",
            "{\"output\":true}",
            &deep,
        ] {
            let error = output(body.as_bytes()).unwrap_err();
            assert!(matches!(error, SymbolizerError::Failed { .. }), "{body}: {error}");
        }
    }
}
