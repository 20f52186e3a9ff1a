//! Documents of the identity provider, with limits of size and time.

use std::pin::Pin;
use std::time::Duration;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;

/// Longest wait for a whole document (contract §3.3).
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest document. A discovery document has some 5 KB, a key set less than 20 KB.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Why a document of the provider could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the identity provider does not answer")]
    Request(#[from] reqwest::Error),
    /// Redirects are not followed: the answer to a request for keys must be the keys.
    #[error("the identity provider answered with status {0}, expected 200")]
    Status(u16),
    #[error("a document of the identity provider has more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    /// The document is not what it should be.
    #[error("a document of the identity provider is not usable: {0}")]
    Malformed(String),
    #[error("the identity provider did not send its keys within {FETCH_TIMEOUT:?}")]
    Slow,
    #[error("the request for the identity provider could not be written")]
    Unwritable(#[from] http::Error),
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
}

impl Fetcher {
    pub(crate) fn new() -> Result<Self, FetchError> {
        let client =
            reqwest::Client::builder().redirect(Policy::none()).timeout(FETCH_TIMEOUT).build()?;
        Ok(Self { client })
    }

    /// The text of a document.
    pub(crate) async fn get(&self, url: &str) -> Result<String, FetchError> {
        let answer = self.client.get(url).send().await?;
        if answer.status().as_u16() != 200 {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let document = body(answer).await?;
        String::from_utf8(document).map_err(|_not_utf8| FetchError::Malformed("not UTF-8".into()))
    }

    /// Sends a request for tokens. Answers that refuse them are answers, those of a provider which
    /// fails or redirects are not.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let answer = self.client.execute(request.try_into()?).await?;
        let status = answer.status().as_u16();
        if !(200..300).contains(&status) && !(400..500).contains(&status) {
            return Err(FetchError::Status(status));
        }
        let headers = answer.headers().clone();
        let mut response = http::Response::builder().status(status).body(body(answer).await?)?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetcher {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
