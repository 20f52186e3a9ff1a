//! Where a server of the tests keeps rows and bytes: embedded, or on `PostgreSQL` and S3 when the
//! tests are told so ([`coredock_testkit::production_backends`]).

use std::path::PathBuf;
use std::sync::Arc;

use coredock_testkit::postgres::TestDatabase;
use coredock_testkit::s3::{S3TestServer, fresh_bucket};
use tempfile::TempDir;

use super::rows::Rows;

/// Where one server keeps rows and bytes; gone when nobody uses it any more.
pub(crate) struct Place {
    directory: TempDir,
    servers: Option<Arc<Servers>>,
}

/// A database and a bucket of their own.
struct Servers {
    database: TestDatabase,
    s3: S3TestServer,
    bucket: String,
}

impl Place {
    /// On the backends the tests were told to use.
    pub(crate) fn new() -> Self {
        if coredock_testkit::production_backends() { Self::on_servers() } else { Self::embedded() }
    }

    fn embedded() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), servers: None }
    }

    /// On `PostgreSQL` and S3, whatever the tests were told.
    pub(crate) fn on_servers() -> Self {
        let servers = Servers {
            database: TestDatabase::empty(),
            s3: S3TestServer::s3s(),
            bucket: fresh_bucket(),
        };
        Self { directory: tempfile::tempdir().unwrap(), servers: Some(Arc::new(servers)) }
    }

    /// That of another replica on the same servers.
    pub(crate) fn of_replica(&self) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), servers: self.servers.clone() }
    }

    /// `DATABASE_URL`, where there is one.
    pub(crate) fn database_url(&self) -> String {
        self.servers.as_ref().unwrap().database.url()
    }

    /// What a server is told of it, beside its data directory.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let Some(servers) = &self.servers else { return Vec::new() };
        let settings = [
            ("DATABASE_URL", servers.database.url()),
            ("DB_POOL_SIZE", "4".to_owned()),
            ("DB_POOL_MAX_OVERFLOW", "4".to_owned()),
            ("S3_ENDPOINT_URL", servers.s3.endpoint.clone()),
            ("S3_ACCESS_KEY_ID", servers.s3.access_key_id.clone()),
            ("S3_SECRET_ACCESS_KEY", servers.s3.secret_access_key.clone()),
            ("S3_BUCKET_NAME", servers.bucket.clone()),
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
            Some(servers) => S3TestServer::s3s_root().join(&servers.bucket),
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
