//! Where a server of the tests keeps rows and bytes: embedded, or on `PostgreSQL` and S3 when the
//! tests are told so ([`coredock_testkit::production_backends`]).

use std::path::PathBuf;
use std::sync::LazyLock;

use coredock_testkit::postgres::TestDatabase;
use coredock_testkit::s3::{S3TestServer, fresh_bucket};
use tempfile::TempDir;

use super::rows::Rows;

/// A place of its own for each server; gone when dropped.
pub(crate) struct Place {
    directory: TempDir,
    servers: Option<Servers>,
}

struct Servers {
    database: TestDatabase,
    s3: S3TestServer,
    bucket: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let servers = coredock_testkit::production_backends().then(|| Servers {
            database: TestDatabase::empty(),
            s3: S3TestServer::s3s(),
            bucket: fresh_bucket(),
        });
        Self { directory: tempfile::tempdir().unwrap(), servers }
    }

    /// What a server is told of it, beside its data directory.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let Some(Servers { database, s3, bucket }) = &self.servers else { return Vec::new() };
        let settings = [
            ("DATABASE_URL", database.url()),
            ("DB_POOL_SIZE", "4".to_owned()),
            ("DB_POOL_MAX_OVERFLOW", "4".to_owned()),
            ("S3_ENDPOINT_URL", s3.endpoint.clone()),
            ("S3_ACCESS_KEY_ID", s3.access_key_id.clone()),
            ("S3_SECRET_ACCESS_KEY", s3.secret_access_key.clone()),
            ("S3_BUCKET_NAME", bucket.clone()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// `DATA_DIR`
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where objects are files.
    pub(crate) fn artifact_dir(&self) -> PathBuf {
        match &self.servers {
            None => self.data_dir().join("artifacts"),
            Some(servers) => S3_ROOT.join(&servers.bucket),
        }
    }

    /// The rows, read and written directly.
    pub(crate) fn rows(&self) -> Rows {
        match &self.servers {
            None => Rows::of_file(&self.data_dir().join("coredock.db")),
            Some(servers) => Rows::of_server(servers.database.url()),
        }
    }
}

static S3_ROOT: LazyLock<PathBuf> = LazyLock::new(S3TestServer::s3s_root);
