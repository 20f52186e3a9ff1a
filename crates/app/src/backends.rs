//! Opens the database, the artifact store and the symbolizer.

pub mod preparation;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coredock_artifact_store::{
    BucketState, LocalArtifactStore, OpenDirectoryError, OpenStoreError, S3ArtifactStore, S3Bucket,
};
use coredock_domain::error::RepositoryError;
use coredock_domain::{Clock, Upkeep};
use coredock_repository::{Database, PostgresOptions, SqliteOptions, StartError};
use coredock_symbolizer_native::NativeOptions;
use coredock_symbolizer_sidecar::{SidecarOptions, SidecarSetupError, SidecarSymbolizer};

use crate::adapters::{Adapters, Engine, Stores};
use crate::config::{ArtifactStoreConfig, Config, DatabasePlace, SidecarConfig, SymbolizerConfig};
use crate::database_clock::{ClockReading, DatabaseClock};
use crate::lock::{DataLock, LockError};
use crate::system::SystemClock;

/// Reads of SQLite that run at once; more would only wait for the same disk.
const MAX_READERS: usize = 8;
/// A temporary file that is older than this does not belong to a write in progress.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// Why the backends could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the data, or the directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be used.
    #[error("database {shown}")]
    Database {
        /// The file, or the URL without its password.
        shown: String,
        source: StartError,
    },
    /// The artifact directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenDirectoryError),
    /// The settings of S3 cannot be used.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The sidecar cannot be used.
    #[error("the sidecar of PARSE_SIDECAR_URL cannot be used")]
    Sidecar(#[from] SidecarSetupError),
    /// The id of the installation could not be read or created.
    #[error(transparent)]
    Installation(#[from] RepositoryError),
}

impl OpenError {
    /// Whether a retry may succeed, because a server is unreachable. A fault of a local file does
    /// not pass by itself.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database { source, shown } => source.is_outage() && !shown.starts_with("sqlite:"),
            Self::Installation(RepositoryError::Unavailable { .. }) => true,
            Self::Lock(_)
            | Self::Directory(_)
            | Self::Store(_)
            | Self::Sidecar(_)
            | Self::Installation(RepositoryError::Conflict | RepositoryError::Corrupt { .. }) => {
                false
            }
        }
    }
}

/// The concrete store, for the work at start that differs between kinds of stores.
enum OpenedStore {
    Local(LocalArtifactStore),
    S3(S3Bucket),
}

/// The backends of a process.
pub struct Backends {
    pub adapters: Adapters,
    store: OpenedStore,
    sidecar: Option<Arc<SidecarSymbolizer>>,
    /// Set if the database is a server, which other processes may share.
    clock: Option<Arc<DatabaseClock>>,
    attempt_timeout: Duration,
    /// Set if data is on this machine; keeps other processes from using it.
    lock: Option<DataLock>,
}

impl Backends {
    /// Locks the data on this machine and opens everything. Servers are not contacted yet.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let sidecar = open_sidecar(config)?;
        let lock = lock(config)?;
        let database = open_database(config).await?;
        let (store, stores) = open_store(config)?;
        let engine = match config.coredumps.symbolizer {
            SymbolizerConfig::Off => Engine::Off,
            SymbolizerConfig::Native => Engine::Native(NativeOptions::new(
                config.spool_dir(),
                config.coredumps.symbolication.attempt_timeout,
            )),
            SymbolizerConfig::Sidecar => {
                sidecar.clone().map_or(Engine::Off, |sidecar| Engine::External(sidecar))
            }
        };
        let mut adapters = Adapters::new(database, stores, engine);
        let clock = match config.database.place {
            DatabasePlace::Sqlite(_) => None,
            DatabasePlace::Postgres(_) => Some(Arc::new(DatabaseClock::default())),
        };
        if let Some(clock) = &clock {
            adapters.clock = clock.clone();
        }
        let attempt_timeout = config.coredumps.symbolication.attempt_timeout;
        Ok(Self { adapters, store, sidecar, clock, attempt_timeout, lock })
    }

    /// Applies pending migrations if `migrate` is set, and creates the id of the installation.
    /// Returns `false` while migrations are pending, which an operator must apply.
    pub async fn prepare_database(&self, migrate: bool) -> Result<bool, OpenError> {
        let database = &self.adapters.database;
        let failed = |source| OpenError::Database { shown: database.shown(), source };
        if migrate {
            let applied = database.migrate().await.map_err(failed)?;
            if !applied.is_empty() {
                tracing::info!(
                    migrations = ?applied,
                    "{} migrations were applied to the database",
                    applied.len()
                );
            }
        }
        if database.pending_migrations().await.map_err(failed)? > 0 {
            return Ok(false);
        }
        self.ask_time().await;
        let now = self.adapters.clock.now();
        database.ensure_installation(self.adapters.entropy.as_ref(), now).await?;
        Ok(true)
    }

    /// Reads the time of the database if it is a server.
    pub async fn ask_time(&self) {
        let Some(clock) = &self.clock else { return };
        match clock.read(&self.adapters.database).await {
            Ok(ClockReading::Used | ClockReading::NoServer) => {}
            Ok(ClockReading::TooSlow { took }) => {
                tracing::debug!("reading of the database clock discarded: it took {took:?}");
            }
            Err(error) => {
                warn(
                    "the time of the database server could not be read; the last reading goes on, or the clock \
                     of this machine if there was none",
                    &error,
                );
            }
        }
    }

    /// Removes the files of interrupted writes, deletes and parses; to be called before anything is
    /// written. A failure is only logged: the server starts anyway, and health reports the store.
    pub async fn clean_leftovers(&self) {
        let written_before = SystemClock.now().before(LEFTOVER_AGE);
        if let OpenedStore::Local(store) = &self.store {
            match store.clean_leftovers(written_before).await {
                Ok(0) => {}
                Ok(files) => tracing::info!(
                    files,
                    "{files} files of interrupted writes to the artifact store were removed"
                ),
                Err(error) => warn(
                    "files of interrupted writes to the artifact store could not be removed",
                    &error,
                ),
            }
        }
        let Some(sidecar) = &self.sidecar else { return };
        // With the lock of the data no other Coredock process uses these files. Without it another
        // process may, but not for longer than an attempt takes.
        let age = if self.lock.is_some() { Duration::ZERO } else { self.attempt_timeout * 2 };
        match sidecar.clean_leftovers(SystemTime::now() - age).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(
                files,
                "{files} files of interrupted parses were removed from PARSE_SIDECAR_XFER_DIR"
            ),
            Err(error) => warn(
                "files of interrupted parses could not be removed from PARSE_SIDECAR_XFER_DIR",
                &error,
            ),
        }
    }

    /// Creates a missing bucket and writes the owner mark of this installation into an empty store.
    /// Returns `false` after a failure, which is logged here and which the caller retries.
    pub async fn prepare_store(&self, upkeep: &Upkeep) -> bool {
        if let OpenedStore::S3(bucket) = &self.store {
            match bucket.ensure().await {
                Ok(BucketState::Existed | BucketState::Created) => {}
                Err(error) => {
                    warn(
                        "the bucket of the artifact store could not be created or inspected; \
                         retried every 2 s",
                        &error,
                    );
                    return false;
                }
            }
        }
        match upkeep.claim_empty_store().await {
            Ok(()) => true,
            Err(error) => {
                warn(
                    "the artifact store could not be checked for an owner mark; retried every 2 s",
                    &error,
                );
                false
            }
        }
    }
}

/// Locks the files and directories, so that no other process uses them meanwhile.
fn lock(config: &Config) -> Result<Option<DataLock>, LockError> {
    let mut directories: Vec<&Path> = Vec::new();
    if let DatabasePlace::Sqlite(path) = &config.database.place {
        let directory = path.parent().unwrap_or(Path::new(""));
        let here = directory.as_os_str().is_empty();
        directories.push(if here { Path::new(".") } else { directory });
    }
    if let ArtifactStoreConfig::Local(directory) = &config.artifacts {
        directories.push(directory);
    }
    if directories.is_empty() {
        return Ok(None);
    }
    directories.insert(0, &config.data_dir);
    DataLock::take(&directories).map(Some)
}

fn open_store(config: &Config) -> Result<(OpenedStore, Stores), OpenError> {
    Ok(match &config.artifacts {
        ArtifactStoreConfig::Local(directory) => {
            let store = LocalArtifactStore::at(directory)?;
            let stores = Stores {
                kind: "local",
                on_pool: Arc::new(store.clone()),
                on_caller_thread: Arc::new(store.on_caller_thread()),
            };
            (OpenedStore::Local(store), stores)
        }
        ArtifactStoreConfig::S3(options) => {
            let store = Arc::new(S3ArtifactStore::new(options)?);
            let stores = Stores { kind: "s3", on_pool: store.clone(), on_caller_thread: store };
            (OpenedStore::S3(S3Bucket::new(options)?), stores)
        }
    })
}

fn open_sidecar(config: &Config) -> Result<Option<Arc<SidecarSymbolizer>>, SidecarSetupError> {
    let Some(SidecarConfig { url, directory }) = config.coredumps.sidecar.clone() else {
        return Ok(None);
    };
    let timeout = config.coredumps.symbolication.attempt_timeout;
    Ok(Some(Arc::new(SidecarSymbolizer::new(SidecarOptions { url, directory, timeout })?)))
}

/// Opens the database without applying migrations.
pub async fn open_database(config: &Config) -> Result<Database, OpenError> {
    let database = &config.database;
    match &database.place {
        DatabasePlace::Sqlite(path) => {
            let connections = database.pool_size.saturating_add(database.overflow);
            let readers = connections.saturating_sub(1).clamp(1, MAX_READERS);
            let options = SqliteOptions { readers, wait: database.wait };
            let opened = Database::open_sqlite(path, options).await;
            opened
                .map_err(|source| OpenError::Database { shown: database.place.to_string(), source })
        }
        DatabasePlace::Postgres(url) => {
            let options = PostgresOptions {
                url: url.clone(),
                pool_size: database.pool_size,
                overflow: database.overflow,
                wait: database.wait,
            };
            let opened = Database::open_postgres(options);
            opened
                .map_err(|source| OpenError::Database { shown: database.place.to_string(), source })
        }
    }
}

fn warn(message: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{message}");
}
