//! The adapters of a process, behind the ports that the features use.

use std::sync::Arc;

use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::identity::refreshes::RefreshRepository;
use coredock_domain::identity::saved_keys::SavedKeys;
use coredock_domain::intake::repository::IntakeRepository;
use coredock_domain::models::repository::ModelRepository;
use coredock_domain::rom_elfs::repository::RomElfRepository;
use coredock_domain::symbolication::index_jobs::SymbolIndexRepository;
use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_domain::upkeep::outbox::OutboxRepository;
use coredock_domain::upkeep::sweep_repository::SweepRepository;
use coredock_domain::{ArtifactStore, Clock, Entropy, Symbolizer};
use coredock_repository::Database;
use coredock_symbolizer_native::NativeOptions;

use crate::system::{SystemClock, SystemEntropy};

/// The adapters of a process. Tests replace some of them by wrappers.
#[derive(Clone)]
pub struct Adapters {
    /// For health and metrics.
    pub database: Database,
    pub rows: Rows,
    pub stores: Stores,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Adapters {
    /// The real clock and randomness over this database, this store and this engine.
    pub fn new(database: Database, stores: Stores, engine: Engine) -> Self {
        Self {
            rows: Rows::of(&database),
            database,
            stores,
            engine,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// The repositories, port by port.
#[derive(Clone)]
pub struct Rows {
    pub models: Arc<dyn ModelRepository>,
    pub devices: Arc<dyn DeviceRepository>,
    pub versions: Arc<dyn FirmwareRepository>,
    pub publications: Arc<dyn PublicationRepository>,
    pub rom_elfs: Arc<dyn RomElfRepository>,
    pub symbol_indexes: Arc<dyn SymbolIndexRepository>,
    pub coredumps: Arc<dyn CoredumpRepository>,
    pub deliveries: Arc<dyn IntakeRepository>,
    pub jobs: Arc<dyn ParseJobRepository>,
    pub outbox: Arc<dyn OutboxRepository>,
    pub sweep: Arc<dyn SweepRepository>,
    pub saved_keys: Arc<dyn SavedKeys>,
    pub refreshes: Arc<dyn RefreshRepository>,
    /// For parse workers.
    pub parsing: ParsingRows,
}

/// The rows that parse workers read besides their jobs, on caller threads.
#[derive(Clone)]
pub struct ParsingRows {
    pub rom_elfs: Arc<dyn RomElfRepository>,
    pub symbol_indexes: Arc<dyn SymbolIndexRepository>,
}

impl Rows {
    /// All repositories on one database. Caller threads record deliveries and claim jobs.
    pub fn of(database: &Database) -> Self {
        let rows = Arc::new(database.clone());
        let on_caller_thread = Arc::new(database.on_caller_thread());
        Self {
            models: rows.clone(),
            devices: rows.clone(),
            versions: rows.clone(),
            publications: rows.clone(),
            rom_elfs: rows.clone(),
            symbol_indexes: rows.clone(),
            coredumps: rows.clone(),
            deliveries: on_caller_thread.clone(),
            jobs: on_caller_thread.clone(),
            outbox: rows.clone(),
            sweep: rows.clone(),
            saved_keys: rows.clone(),
            refreshes: rows,
            parsing: ParsingRows {
                rom_elfs: on_caller_thread.clone(),
                symbol_indexes: on_caller_thread,
            },
        }
    }
}

/// The engine which makes reports.
#[derive(Clone)]
pub enum Engine {
    /// No engine: jobs wait.
    Off,
    /// This process; child processes build the indexes.
    Native(NativeOptions),
    /// A service, or the engine of a test.
    External(Arc<dyn Symbolizer>),
}

/// The artifact store, as two handles.
#[derive(Clone)]
pub struct Stores {
    /// `local` or `s3`, for health and metrics.
    pub kind: &'static str,
    /// For asynchronous code: never blocks the polling thread.
    pub on_pool: Arc<dyn ArtifactStore>,
    /// For caller threads: a local store works on the calling thread.
    pub on_caller_thread: Arc<dyn ArtifactStore>,
}
