//! The S3 servers which `cargo xtask test` starts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// An S3 server and its only access key.
#[derive(Debug, Clone)]
pub struct S3TestServer {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl S3TestServer {
    /// s3s-fs checks signatures and digests, and has no lifecycle rules.
    pub fn s3s() -> Self {
        Self::parse(&crate::setting("COREDOCK_TEST_S3S"))
    }

    /// moto has lifecycle rules, and checks neither signatures nor digests of bodies.
    pub fn moto() -> Self {
        Self::parse(&crate::setting("COREDOCK_TEST_MOTO"))
    }

    /// The directory of s3s-fs. Buckets are directories in it, objects are plain files.
    pub fn s3s_root() -> PathBuf {
        PathBuf::from(crate::setting("COREDOCK_TEST_S3S_ROOT"))
    }

    /// Reads `http://ACCESSKEY:SECRET@HOST:PORT`.
    fn parse(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("the address begins with http://");
        let (credentials, host) = rest.split_once('@').expect("the address has credentials");
        let (key, secret) = credentials.split_once(':').expect("the key has a secret");
        Self {
            endpoint: format!("http://{host}"),
            access_key_id: key.to_owned(),
            secret_access_key: secret.to_owned(),
        }
    }
}

/// The name of a bucket which no other test uses, in this process or in others.
pub fn fresh_bucket() -> String {
    static BUCKETS: AtomicU32 = AtomicU32::new(0);
    let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("test-{}-{}-{number}", std::process::id(), now.as_nanos())
}
