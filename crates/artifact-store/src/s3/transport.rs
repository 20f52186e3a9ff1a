//! The HTTP client of S3: time limits, retries, and what an answer means.
//!
//! `object_store` treats every 404 as an absent object. Here only the code `NoSuchKey` means that:
//! a missing bucket, the page of a proxy, and a 404 to a HEAD, which has no body with a code, are
//! failures.

use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::redirect::Policy;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::pace::{Progress, limited, paced};

/// Attempts after the first.
const RETRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest body of an error answer that is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A copy that failed half-way is answered with 200 and another document.
const COPIED: &[u8] = b"CopyObjectResult";

/// What a successful answer must contain, because the page of a proxy may be a success too.
#[derive(Clone, Copy)]
enum Proof {
    /// Its document is checked elsewhere, or it has none.
    None,
    /// The `ETag` of the object.
    Tag,
    /// The document of a copy.
    Copied,
}

impl Proof {
    fn required(request: &HttpRequest) -> Self {
        if request.headers().contains_key("x-amz-copy-source") {
            return Self::Copied;
        }
        let of_object = request.uri().query().is_none();
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        if of_object && reads { Self::Tag } else { Self::None }
    }
}

/// One client, one connection pool; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    /// How long a transfer may make no progress, in either direction.
    limit: Duration,
}

impl Transport {
    /// Opens no connection.
    pub(crate) fn new(limit: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(limit)
            .redirect(Policy::none())
            // The length of an answer must be that of the object.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .user_agent("coredock")
            .build()?;
        Ok(Self { client, limit })
    }

    async fn attempt(&self, request: HttpRequest) -> Result<Response<reqwest::Body>, Failure> {
        let (parts, body) = request.into_parts();
        let Ok(url) = parts.uri.to_string().parse() else { return Err(Failure::BadUrl) };
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let progress = Progress::default();
        let length = body.content_length();
        if length > 0 {
            // A stream of pieces has no length by itself, and S3 refuses chunked bodies.
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
            *request.body_mut() = Some(paced(body, progress.clone()));
        }
        tokio::select! {
            answer = self.client.execute(request) => Ok(answer.map_err(Failure::broken)?.into()),
            () = progress.stalls(self.limit) => Err(Failure::Stalled { limit: self.limit }),
        }
    }

    /// The answer, if it is a success or says that the object is absent.
    async fn check(
        &self,
        answer: Response<reqwest::Body>,
        proof: Proof,
    ) -> Result<HttpResponse, Failure> {
        let (parts, body) = answer.into_parts();
        let body = limited(body, self.limit);
        if !parts.status.is_success() {
            let text = read_start(body).await;
            let refusal = Failure::refused(parts.status, &text);
            return if refusal.is_absence() {
                Ok(Response::from_parts(parts, text.into()))
            } else {
                Err(refusal)
            };
        }
        let unproven = Failure::Unproven { status: parts.status };
        match proof {
            Proof::None => Ok(Response::from_parts(parts, body)),
            Proof::Tag if parts.headers.contains_key(ETAG) => Ok(Response::from_parts(parts, body)),
            Proof::Tag => Err(unproven),
            Proof::Copied => {
                let text = read_start(body).await;
                let copied = text.windows(COPIED.len()).any(|word| word == COPIED);
                if copied { Ok(Response::from_parts(parts, text.into())) } else { Err(unproven) }
            }
        }
    }
}

/// The beginning of a body, as far as it arrives.
async fn read_start(mut body: object_store::client::HttpResponseBody) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
        if text.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    text
}

#[async_trait]
impl HttpService for Transport {
    /// Retries failures that may pass quickly, within a quarter of the limit, so that an outage is
    /// reported within little more than the limit.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let begun = Instant::now();
        let proof = Proof::required(&request);
        for retry in 0..RETRIES {
            let outcome = self.attempt(request.clone()).await;
            let pause = FIRST_PAUSE * 2_u32.pow(retry);
            if !may_pass(&outcome) || begun.elapsed() + pause > self.limit / 4 {
                return self.finish(outcome, proof).await;
            }
            sleep(pause).await;
        }
        self.finish(self.attempt(request).await, proof).await
    }
}

impl Transport {
    async fn finish(
        &self,
        outcome: Result<Response<reqwest::Body>, Failure>,
        proof: Proof,
    ) -> Result<HttpResponse, HttpError> {
        let checked = match outcome {
            Ok(answer) => self.check(answer, proof).await,
            Err(failure) => Err(failure),
        };
        checked.map_err(|failure| HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

fn may_pass(outcome: &Result<Response<reqwest::Body>, Failure>) -> bool {
    match outcome {
        Ok(answer) => matches!(
            answer.status(),
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        Err(failure) => failure.may_pass(),
    }
}

/// All users share one client.
impl HttpConnector for Transport {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
