//! Liveness and readiness (contract §14.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::{ArtifactStoreError, read_all};
use coredock_domain::ids::ReplicaId;
use coredock_domain::{ArtifactStore, Symbolizer, TokenVerifier};
use coredock_repository::Database;
use tokio::sync::Mutex;

use crate::adapters::Adapters;
use crate::wiring::Features;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const CACHED_FOR: Duration = Duration::from_secs(10);
const PROBE: &[u8] = b"coredock probe";

/// The state of the dependencies at the last check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// `None` when the database did not answer.
    pub migrations_pending: Option<usize>,
    /// An object could be written, read and deleted.
    pub store: bool,
    /// The symbolizer answers, or is disabled.
    pub symbolizer: bool,
    /// The identity provider answered when it was asked last, or is not used.
    pub identity_provider: bool,
}

impl Readiness {
    pub const fn database_answers(&self) -> bool {
        self.migrations_pending.is_some()
    }
}

/// Checks the dependencies, at most every ten seconds.
pub struct Health {
    database: Database,
    store: Arc<dyn ArtifactStore>,
    store_kind: &'static str,
    symbolizer: Option<Arc<dyn Symbolizer>>,
    verifier: Option<Arc<dyn TokenVerifier>>,
    probe: ArtifactKey,
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Health {
    pub fn new(adapters: &Adapters, features: &Features) -> Self {
        Self {
            database: adapters.database.clone(),
            store: features.store.clone(),
            store_kind: adapters.stores.kind,
            symbolizer: features.symbolication.symbolizer().cloned(),
            verifier: features.verifier.clone(),
            probe: ArtifactKey::Health { replica: ReplicaId::random(&*adapters.entropy) },
            last: Mutex::new(None),
        }
    }

    pub const fn has_identity_provider(&self) -> bool {
        self.verifier.is_some()
    }

    pub const fn store_kind(&self) -> &'static str {
        self.store_kind
    }

    pub fn engine(&self) -> &'static str {
        self.symbolizer.as_ref().map_or("off", |symbolizer| symbolizer.engine())
    }

    /// The database, for its metrics.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The cached state, or a new one.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = *last
            && at.elapsed() < CACHED_FOR
        {
            return readiness;
        }
        let readiness = self.check().await;
        *last = Some((Instant::now(), readiness));
        readiness
    }

    async fn check(&self) -> Readiness {
        let database = tokio::time::timeout(CHECK_TIMEOUT, self.check_database());
        let store = tokio::time::timeout(CHECK_TIMEOUT, self.probe_store());
        let symbolizer = tokio::time::timeout(CHECK_TIMEOUT, self.check_symbolizer());
        let (database, store, symbolizer) = tokio::join!(database, store, symbolizer);
        let migrations_pending = database.ok().flatten();
        Readiness {
            migrations_pending,
            store: matches!(store, Ok(Ok(true))),
            symbolizer: symbolizer.unwrap_or(false),
            identity_provider: self
                .verifier
                .as_ref()
                .is_none_or(|verifier| verifier.provider_answers()),
        }
    }

    /// The number of pending migrations, if the database answers.
    async fn check_database(&self) -> Option<usize> {
        // Migrations that this version does not know do not make it unready: a newer replica has
        // applied them, and this replica works until it is replaced.
        let pending = self.database.schema_status().await.ok()?.pending.len();
        let answers = pending > 0 || self.database.ping().await.is_ok();
        answers.then_some(pending)
    }

    async fn check_symbolizer(&self) -> bool {
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
