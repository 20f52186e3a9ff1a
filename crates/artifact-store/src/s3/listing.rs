//! Lists a bucket.
//!
//! Not by `object_store`, which ends a listing at the first key that it cannot parse as a path,
//! such as `a//b`: a foreign object must not hide the others from the sweep.
//!
//! Requests have no `encoding-type`: s3s-fs would say that it encodes keys, but does not, and `+`
//! and `%2B` would be ambiguous.

use std::sync::Arc;

use coredock_domain::artifacts::store::ListedObject;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, Stream, TryStreamExt};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpRequestBody};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Fault;

/// A client for the listings of one bucket.
#[derive(Clone)]
pub(crate) struct Listing {
    pub(crate) client: HttpClient,
    pub(crate) credential: Arc<AwsCredential>,
    pub(crate) region: String,
    /// Of the bucket, without a slash at its end.
    pub(crate) url: String,
}

/// The page of a listing that is read next.
enum Position {
    Start,
    After { token: String },
    End,
}

impl Listing {
    /// Every object below `prefix`, which ends with a slash.
    pub(crate) fn objects(
        &self,
        prefix: String,
    ) -> impl Stream<Item = Result<ListedObject, Fault>> + use<> {
        let listing = (self.clone(), prefix, Position::Start);
        stream::try_unfold(listing, |(listing, prefix, position)| async move {
            let token = match &position {
                Position::Start => None,
                Position::After { token } => Some(token.as_str()),
                Position::End => return Ok(None),
            };
            let page = listing.page(&prefix, token).await?;
            let next = page.next(token)?;
            let objects = page.contents.into_iter().map(Object::read);
            Ok::<_, Fault>(Some((stream::iter(objects), (listing, prefix, next))))
        })
        .try_flatten()
    }

    /// An error when the bucket is missing. A read of an object does not always show that: s3s-fs
    /// answers that the key is absent.
    pub(crate) async fn check_present(&self) -> Result<(), Fault> {
        self.answer("list-type=2&max-keys=1&prefix=coredock%2Fowner").await.map(drop)
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let query = format!("list-type=2&prefix={}", encode(prefix));
        match token {
            None => self.answer(&query).await,
            Some(token) => {
                self.answer(&format!("{query}&continuation-token={}", encode(token))).await
            }
        }
    }

    async fn answer(&self, query: &str) -> Result<Page, Fault> {
        let url = format!("{}?{query}", self.url);
        let mut request = http::Request::get(url).body(HttpRequestBody::empty())?;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)?;
        let answer = self.client.execute(request).await?;
        let body = answer.into_body().bytes().await?;
        Ok(Page::read(&body)?)
    }
}

/// An answer that is not a listing, or not a complete one.
#[derive(Debug, thiserror::Error)]
enum BadListing {
    #[error("expected the listing of a bucket, found another document")]
    NotAListing(#[source] quick_xml::DeError),
    #[error("expected a new continuation token in a truncated listing, found none")]
    NoToken,
    #[error("expected the time of an object in a listing, found \"{0}\"")]
    BadTime(String),
}

/// `ListBucketResult`. Elements which S3 always sends have no default, so that another document is
/// not taken for an empty listing.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    is_truncated: bool,
    next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
    size: u64,
    last_modified: String,
}

impl Page {
    fn read(body: &[u8]) -> Result<Self, BadListing> {
        quick_xml::de::from_reader(body).map_err(BadListing::NotAListing)
    }

    fn next(&self, token: Option<&str>) -> Result<Position, BadListing> {
        match &self.next_continuation_token {
            _ if !self.is_truncated => Ok(Position::End),
            Some(next) if Some(next.as_str()) != token => {
                Ok(Position::After { token: next.clone() })
            }
            _ => Err(BadListing::NoToken),
        }
    }
}

impl Object {
    fn read(self) -> Result<ListedObject, Fault> {
        let modified =
            Timestamp::parse(&self.last_modified).ok_or(BadListing::BadTime(self.last_modified))?;
        Ok(ListedObject { path: self.key, size: self.size, modified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(elements: &str) -> Result<Page, BadListing> {
        let text =
            format!("<?xml version=\"1.0\"?><ListBucketResult>{elements}</ListBucketResult>");
        Page::read(text.as_bytes())
    }

    #[test]
    fn other_documents_are_not_empty_listings() {
        assert!(listing("<IsTruncated>false</IsTruncated>").is_ok());
        assert!(listing("<Name>bucket</Name>").is_err());
        for other in ["<html><body>hello</body></html>", "{}", "", "<Error/>"] {
            assert!(Page::read(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_truncated_listing_must_have_a_new_token() {
        let page = listing("<IsTruncated>true</IsTruncated>").unwrap();
        assert!(page.next(None).is_err());
        let next = "<NextContinuationToken>a</NextContinuationToken>";
        let page = listing(&format!("<IsTruncated>true</IsTruncated>{next}")).unwrap();
        assert!(page.next(Some("b")).is_ok());
        assert!(page.next(Some("a")).is_err());
    }

    #[test]
    fn keys_are_not_changed() {
        let object = "<Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>";
        for (written, key) in [
            ("a%2Bb+c", "a%2Bb+c"),
            (" a//../b/ ", " a//../b/ "),
            ("&lt;&amp;&#x1;&#13;&#10;", "<&\u{1}\r\n"),
            ("\u{1}\u{7f}ü", "\u{1}\u{7f}ü"),
        ] {
            let contents = format!("<Contents><Key>{written}</Key>{object}</Contents>");
            let page = listing(&format!("<IsTruncated>false</IsTruncated>{contents}")).unwrap();
            let objects: Vec<_> = page.contents.into_iter().map(Object::read).collect();
            assert_eq!(objects.len(), 1);
            assert_eq!(objects[0].as_ref().unwrap().path, key);
        }
    }
}
