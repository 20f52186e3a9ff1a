//! Liveness and readiness (contract §14.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::{ArtifactStoreError, read_all};
use coredock_domain::ids::UploadId;
use coredock_domain::{ArtifactStore, Symbolizer};
use coredock_repository::Database;
use tokio::sync::Mutex;

use crate::wiring::{Features, Outside};

/// A check that takes longer has failed.
const LONGEST_CHECK: Duration = Duration::from_secs(2);
const CACHED_FOR: Duration = Duration::from_secs(10);
const PROBE: &[u8] = b"coredock probe";

/// What the last look at the dependencies found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// Migrations that wait; `None` when that could not be found out.
    pub migrations_pending: Option<usize>,
    /// The store takes, returns and deletes an object.
    pub store: bool,
    /// The symbolizer answers, or there is none.
    pub symbolizer: bool,
}

/// Looks at the dependencies, at most every ten seconds.
pub struct Health {
    database: Database,
    store: Arc<dyn ArtifactStore>,
    store_kind: &'static str,
    symbolizer: Option<Arc<dyn Symbolizer>>,
    probe: ArtifactKey,
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Health {
    /// Watches what the features work with.
    pub fn new(outside: &Outside, features: &Features) -> Self {
        Self {
            database: outside.database.clone(),
            store: features.store.clone(),
            store_kind: outside.store_kind,
            symbolizer: features.coredumps.symbolizer().cloned(),
            probe: ArtifactKey::Health { instance: UploadId::random(&*outside.entropy) },
            last: Mutex::new(None),
        }
    }

    /// What kind of store it is.
    pub const fn store_kind(&self) -> &'static str {
        self.store_kind
    }

    /// The name of the symbolizer.
    pub fn engine(&self) -> &'static str {
        self.symbolizer.as_ref().map_or("off", |symbolizer| symbolizer.engine())
    }

    /// The database, for its metrics.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The state of the dependencies.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = *last
            && at.elapsed() < CACHED_FOR
        {
            return readiness;
        }
        let readiness = self.look().await;
        *last = Some((Instant::now(), readiness));
        readiness
    }

    async fn look(&self) -> Readiness {
        let database = tokio::time::timeout(LONGEST_CHECK, self.look_at_database());
        let store = tokio::time::timeout(LONGEST_CHECK, self.probe_store());
        let symbolizer = tokio::time::timeout(LONGEST_CHECK, self.look_at_symbolizer());
        let (database, store, symbolizer) = tokio::join!(database, store, symbolizer);
        let migrations_pending = database.ok().flatten();
        Readiness {
            database: migrations_pending.is_some(),
            migrations_pending,
            store: matches!(store, Ok(Ok(true))),
            symbolizer: symbolizer.unwrap_or(false),
        }
    }

    /// How many migrations wait, if the connections in use answer at all.
    async fn look_at_database(&self) -> Option<usize> {
        // A newer process may have migrated it meanwhile; this one goes on until it is replaced.
        let pending = self.database.schema_status().await.ok()?.pending.len();
        let answers = pending > 0 || self.database.ping().await.is_ok();
        answers.then_some(pending)
    }

    async fn look_at_symbolizer(&self) -> bool {
        match &self.symbolizer {
            Some(symbolizer) => symbolizer.is_ready().await,
            None => true,
        }
    }

    async fn probe_store(&self) -> Result<bool, ArtifactStoreError> {
        let body = ArtifactBody::from(Bytes::from_static(PROBE));
        self.store.put(&self.probe, &body).await?;
        let read = read_all(&*self.store, &self.probe, PROBE.len() as u64).await?;
        self.store.delete(std::slice::from_ref(&self.probe)).await?;
        Ok(read.as_deref() == Some(PROBE))
    }
}
