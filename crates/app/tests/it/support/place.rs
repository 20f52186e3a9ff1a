//! The database and the store of a test server: embedded, or `PostgreSQL` and S3 if the tests run
//! on production backends ([`coredock_testkit::production_backends`]).

use std::path::PathBuf;
use std::sync::Arc;

use coredock_testkit::postgres::TestDatabase;
use coredock_testkit::s3::{S3TestServer, fresh_bucket};
use tempfile::TempDir;

use super::rows::Rows;

/// The database and the store of one server; deleted with the last reference.
pub(crate) struct Place {
    directory: TempDir,
    servers: Option<Arc<Servers>>,
}

struct Servers {
    database: TestDatabase,
    s3: S3TestServer,
    bucket: String,
}

impl Place {
    /// On the backends for which the tests are configured.
    pub(crate) fn new() -> Self {
        if coredock_testkit::production_backends() { Self::on_servers() } else { Self::embedded() }
    }

    fn embedded() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), servers: None }
    }

    /// On `PostgreSQL` and S3, however the tests are configured.
    pub(crate) fn on_servers() -> Self {
        let servers = Servers {
            database: TestDatabase::empty(),
            s3: S3TestServer::s3s(),
            bucket: fresh_bucket(),
        };
        Self { directory: tempfile::tempdir().unwrap(), servers: Some(Arc::new(servers)) }
    }

    /// The place of another replica on the same servers.
    pub(crate) fn of_replica(&self) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), servers: self.servers.clone() }
    }

    /// `DATABASE_URL`; fails if the place is embedded.
    pub(crate) fn database_url(&self) -> String {
        self.servers.as_ref().unwrap().database.url()
    }

    /// Settings of a server at this place, besides its data directory.
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

    /// The directory of the objects.
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
