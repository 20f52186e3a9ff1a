//! Bodies in transit: the limit is on the time without progress, not on the whole transfer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use object_store::client::{HttpError, HttpErrorKind, HttpRequestBody, HttpResponseBody};
use tokio::time::{Instant, sleep_until, timeout};

use super::failure::Failure;

/// Progress within a piece is not visible, so pieces are small.
const PIECE: usize = 64 << 10;

/// When the last piece of a body was sent.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Progress {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when no piece has been sent for `limit`.
    pub(crate) async fn stalls(&self, limit: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Sends `body` piece by piece.
pub(crate) fn paced(body: HttpRequestBody, progress: Progress) -> reqwest::Body {
    let pieces = body
        .into_data_stream()
        .map_ok(|bytes| stream::iter(cut(bytes)).map(Ok::<_, HttpError>))
        .try_flatten()
        .inspect_ok(move |_| progress.note());
    reqwest::Body::wrap_stream(pieces)
}

fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    })
}

/// Receives `body`; an error when no byte arrives for `limit`.
pub(crate) fn limited(body: reqwest::Body, limit: Duration) -> HttpResponseBody {
    let frames = stream::try_unfold(body, move |mut body| async move {
        match timeout(limit, body.frame()).await {
            Ok(Some(frame)) => Ok(Some((frame.map_err(Failure::broken)?, body))),
            Ok(None) => Ok(None),
            Err(_) => Err(Failure::Stalled { limit }),
        }
    });
    let failed = |failure| HttpError::new(HttpErrorKind::Unknown, failure);
    HttpResponseBody::new(StreamBody::new(frames.map_err(failed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_cut_into_pieces() {
        let lengths: Vec<_> =
            cut(Bytes::from(vec![0; 2 * PIECE + 1])).map(|piece| piece.len()).collect();
        assert_eq!(lengths, [PIECE, PIECE, 1]);
        assert_eq!(cut(Bytes::new()).count(), 0);
    }
}
