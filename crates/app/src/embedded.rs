//! Opens the embedded parts: lock, database, local store, symbolizer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coredock_artifact_store::{ObjectArtifactStore, OpenDirectoryError};
use coredock_domain::{Clock, Symbolizer, Upkeep};
use coredock_repository::{Database, SqliteOptions, StartError};
use coredock_symbolizer_sidecar::{SidecarOptions, SidecarSetupError, SidecarSymbolizer};

use crate::config::{Config, SidecarConfig, SymbolizerConfig};
use crate::lock::{DataLock, LockError};
use crate::system::SystemClock;
use crate::wiring::Outside;

/// Reads that run side by side; more only wait for the same disk.
const MOST_READERS: usize = 8;
/// Files of interrupted writes are younger than this only while a write is under way.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// Why the data could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or the directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be used.
    #[error("database {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StartError,
    },
    /// The artifact directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenDirectoryError),
    /// The sidecar cannot be used.
    #[error("PARSE_SIDECAR_URL: {0}")]
    Sidecar(#[from] SidecarSetupError),
    /// The id of the installation could not be read or made.
    #[error(transparent)]
    Installation(#[from] coredock_domain::repository::RepositoryError),
}

/// The embedded parts of a process that owns its data.
pub struct Embedded {
    /// What the features work with.
    pub outside: Outside,
    store: ObjectArtifactStore,
    sidecar: Option<Arc<SidecarSymbolizer>>,
    _lock: DataLock,
}

impl Embedded {
    /// Locks the data, opens database and store, and migrates if `migrate` says so.
    pub async fn open(config: &Config, migrate: bool) -> Result<Self, OpenError> {
        let sidecar = open_sidecar(config)?;
        let database_dir = config.database.path.parent().unwrap_or(Path::new("."));
        let database_dir =
            if database_dir.as_os_str().is_empty() { Path::new(".") } else { database_dir };
        let lock = DataLock::take(&[&config.data_dir, database_dir, &config.artifact_dir])?;
        let database = open_database(config).await?;
        let wrong = |source| OpenError::Database { path: config.database.path.clone(), source };
        if migrate {
            let applied = database.migrate().await.map_err(wrong)?;
            if !applied.is_empty() {
                tracing::info!(migrations = ?applied, "database migrated");
            }
        }
        let store = ObjectArtifactStore::local(&config.artifact_dir)?;
        let symbolizer = match config.coredumps.symbolizer {
            SymbolizerConfig::Off => None,
            SymbolizerConfig::Sidecar => {
                sidecar.clone().map(|sidecar| sidecar as Arc<dyn Symbolizer>)
            }
        };
        let outside = Outside::new(database, store.clone(), symbolizer);
        if outside.database.pending_migrations().await.map_err(wrong)? == 0 {
            let now = SystemClock.now();
            outside.database.ensure_installation(outside.entropy.as_ref(), now).await?;
        }
        Ok(Self { outside, store, sidecar, _lock: lock })
    }

    /// Removes what interrupted writes and deletes left; to be called before anything is written.
    /// What fails is logged: the server starts all the same, and health reports the store.
    pub async fn clean_leftovers(&self) {
        let written_before = SystemClock.now().before(LEFTOVER_AGE);
        match self.store.clean_leftovers(written_before).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed files of interrupted writes"),
            Err(error) => warn("leftovers of interrupted writes stay", &error),
        }
        let Some(sidecar) = &self.sidecar else { return };
        // The lock of the data says that no other process of ours works on these dumps.
        match sidecar.clean_leftovers(SystemTime::now()).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed files of interrupted parses"),
            Err(error) => warn("leftovers of interrupted parses stay", &error),
        }
    }

    /// Marks an empty store as ours.
    pub async fn claim_store(&self, upkeep: &Upkeep) {
        if let Err(error) = upkeep.claim_empty_store().await {
            warn("the artifact store could not be looked at", &error);
        }
    }
}

fn open_sidecar(config: &Config) -> Result<Option<Arc<SidecarSymbolizer>>, SidecarSetupError> {
    let Some(SidecarConfig { url, directory }) = config.coredumps.sidecar.clone() else {
        return Ok(None);
    };
    let timeout = config.coredumps.settings.longest_attempt;
    Ok(Some(Arc::new(SidecarSymbolizer::new(SidecarOptions { url, directory, timeout })?)))
}

/// Opens the database of `config`; applies nothing.
pub async fn open_database(config: &Config) -> Result<Database, OpenError> {
    let readers = config.database.connections.saturating_sub(1).clamp(1, MOST_READERS);
    let options = SqliteOptions { readers, wait: config.database.wait };
    let opened = Database::open_sqlite(&config.database.path, options).await;
    opened.map_err(|source| OpenError::Database { path: config.database.path.clone(), source })
}

fn warn(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{what}");
}
