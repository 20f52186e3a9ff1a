//! Puts the parts together: configuration, adapters, features.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::artifacts::verified_reads::VerifiedReads;
use coredock_domain::coredumps::CoredumpPorts;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::devices::DevicePorts;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::firmware::{FirmwarePorts, FirmwareSettings};
use coredock_domain::intake::IntakePorts;
use coredock_domain::intake::repository::IntakeRepository;
use coredock_domain::models::ModelPorts;
use coredock_domain::models::repository::ModelRepository;
use coredock_domain::rom_elfs::RomElfPorts;
use coredock_domain::rom_elfs::repository::RomElfRepository;
use coredock_domain::symbolication::SymbolicationPorts;
use coredock_domain::symbolication::index_jobs::SymbolIndexRepository;
use coredock_domain::symbolication::indexes::{
    StoredIndexes, SymbolIndexPorts, SymbolIndexSettings,
};
use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_domain::upkeep::UpkeepPorts;
use coredock_domain::upkeep::outbox::OutboxRepository;
use coredock_domain::upkeep::sweep::SweepSettings;
use coredock_domain::upkeep::sweep_repository::SweepRepository;
use coredock_domain::{
    ArtifactStore, Clock, Coredumps, DeviceModels, Devices, Entropy, Firmware, Intake, RomElfs,
    SymbolIndexes, Symbolication, Symbolizer, Upkeep,
};
use coredock_repository::Database;
use coredock_symbolizer_native::{NativeOptions, NativePorts, NativeSymbolizer};

use crate::config::Config;
use crate::metered_store::MeteredStore;
use crate::metrics::Metrics;
use crate::rescue_directory::RescueDirectory;
use crate::system::{SystemClock, SystemEntropy, WorkerWakeups};

/// Images kept in memory: a fleet seldom rolls out more than a few at once, of 1–2 MB each.
const IMAGE_CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Where rows lie, port by port. Tests put wrappers here.
#[derive(Clone)]
pub struct Rows {
    /// Device models.
    pub models: Arc<dyn ModelRepository>,
    /// Devices.
    pub devices: Arc<dyn DeviceRepository>,
    /// Versions.
    pub versions: Arc<dyn FirmwareRepository>,
    /// Commits of publications.
    pub publications: Arc<dyn PublicationRepository>,
    /// ROM ELFs.
    pub rom_elfs: Arc<dyn RomElfRepository>,
    /// Indexes of ELFs.
    pub symbol_indexes: Arc<dyn SymbolIndexRepository>,
    /// Dumps.
    pub coredumps: Arc<dyn CoredumpRepository>,
    /// The same rows, as deliveries write them.
    pub deliveries: Arc<dyn IntakeRepository>,
    /// The same rows as a queue.
    pub jobs: Arc<dyn ParseJobRepository>,
    /// Queued deletes.
    pub outbox: Arc<dyn OutboxRepository>,
    /// What the sweep asks.
    pub sweep: Arc<dyn SweepRepository>,
}

impl Rows {
    /// All of them in one database. Deliveries are recorded and jobs are claimed by threads which exist
    /// to block.
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
            jobs: on_caller_thread,
            outbox: rows.clone(),
            sweep: rows,
        }
    }
}

/// Who makes reports.
#[derive(Clone)]
pub enum Engine {
    /// Nobody: jobs wait.
    Off,
    /// This process, with children.
    Native(NativeOptions),
    /// Somebody outside.
    Outside(Arc<dyn Symbolizer>),
}

/// The artifact store, as two handles.
#[derive(Clone)]
pub struct Stores {
    /// `local` or `s3`, for health and metrics.
    pub kind: &'static str,
    /// Blocks no thread that polls it.
    pub on_pool: Arc<dyn ArtifactStore>,
    /// For threads which exist to block: a local store works on the calling thread.
    pub on_caller_thread: Arc<dyn ArtifactStore>,
}

/// What the outside is made of. Tests put wrappers here.
#[derive(Clone)]
pub struct Outside {
    /// The database itself, for health.
    pub database: Database,
    /// Where rows lie.
    pub rows: Rows,
    /// The artifact store.
    pub stores: Stores,
    /// Who makes reports.
    pub engine: Engine,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Outside {
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

/// The features of the server.
#[derive(Clone)]
pub struct Features {
    /// Device models.
    pub models: DeviceModels,
    /// Devices.
    pub devices: Devices,
    /// Firmware.
    pub firmware: Firmware,
    /// ROM ELFs.
    pub rom_elfs: RomElfs,
    /// Indexes of ELFs; `None`: nobody needs any.
    pub symbol_indexes: Option<SymbolIndexes>,
    /// Stored dumps.
    pub coredumps: Coredumps,
    /// The intake of dumps.
    pub intake: Intake,
    /// Reports of dumps.
    pub symbolication: Symbolication,
    /// What the retention of dumps deleted.
    pub pruned: PrunedCoredumps,
    /// Deletes and sweeps.
    pub upkeep: Upkeep,
    /// Every metric.
    pub metrics: Metrics,
    /// Wakes the workers.
    pub wakeups: Arc<WorkerWakeups>,
    /// The store with metrics.
    pub store: Arc<dyn ArtifactStore>,
}

impl Features {
    /// Builds every feature over the outside.
    pub fn new(config: &Config, outside: &Outside) -> Result<Self, prometheus::Error> {
        let wiring = Wiring::new(config, outside)?;
        let (symbolizer, symbol_indexes) = wiring.engine();
        let pruned = PrunedCoredumps::default();
        let intake = wiring.intake(pruned.clone());
        Ok(Self {
            models: wiring.models(),
            devices: wiring.devices(),
            firmware: wiring.firmware(),
            rom_elfs: wiring.rom_elfs(),
            symbol_indexes,
            coredumps: wiring.coredumps(),
            symbolication: wiring.symbolication(symbolizer, &intake, pruned.clone()),
            intake,
            pruned,
            upkeep: wiring.upkeep(),
            metrics: wiring.metrics,
            wakeups: wiring.wakeups,
            store: wiring.store,
        })
    }
}

/// What the features share.
struct Wiring<'a> {
    config: &'a Config,
    outside: &'a Outside,
    store: Arc<dyn ArtifactStore>,
    store_on_caller_thread: Arc<dyn ArtifactStore>,
    reads: VerifiedReads,
    metrics: Metrics,
    wakeups: Arc<WorkerWakeups>,
}

impl<'a> Wiring<'a> {
    fn new(config: &'a Config, outside: &'a Outside) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new()?;
        let metered = |store: &Arc<dyn ArtifactStore>| -> Arc<dyn ArtifactStore> {
            Arc::new(MeteredStore::new(Arc::clone(store), outside.stores.kind, metrics.clone()))
        };
        let store = metered(&outside.stores.on_pool);
        let store_on_caller_thread = metered(&outside.stores.on_caller_thread);
        let reads = VerifiedReads::new(store.clone(), Arc::clone(&outside.clock));
        Ok(Self {
            config,
            outside,
            store,
            store_on_caller_thread,
            reads,
            metrics,
            wakeups: Arc::default(),
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.outside.clock)
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::clone(&self.outside.entropy)
    }

    fn models(&self) -> DeviceModels {
        DeviceModels::new(ModelPorts {
            models: self.outside.rows.models.clone(),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        })
    }

    fn devices(&self) -> Devices {
        let ports = DevicePorts {
            devices: self.outside.rows.devices.clone(),
            models: self.outside.rows.models.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        Devices::new(ports, self.config.devices.mode)
    }

    fn firmware(&self) -> Firmware {
        let ports = FirmwarePorts {
            versions: self.outside.rows.versions.clone(),
            publications: self.outside.rows.publications.clone(),
            store: self.store.clone(),
            reads: self.reads.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = FirmwareSettings {
            kept_versions: self.config.firmware.kept_versions,
            image_cache_bytes: IMAGE_CACHE_BYTES,
        };
        Firmware::new(ports, settings)
    }

    fn rom_elfs(&self) -> RomElfs {
        RomElfs::new(RomElfPorts {
            rom_elfs: self.outside.rows.rom_elfs.clone(),
            leases: self.outside.rows.publications.clone(),
            store: self.store.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        })
    }

    /// Who makes reports, and the indexes he needs.
    fn engine(&self) -> (Option<Arc<dyn Symbolizer>>, Option<SymbolIndexes>) {
        match &self.outside.engine {
            Engine::Off => (None, None),
            Engine::Outside(symbolizer) => (Some(Arc::clone(symbolizer)), None),
            Engine::Native(options) => {
                let native = Arc::new(self.native(options));
                (Some(native.clone()), Some(self.symbol_indexes(native)))
            }
        }
    }

    fn native(&self, options: &NativeOptions) -> NativeSymbolizer {
        let metrics = self.metrics.clone();
        // Parse workers run on threads of their own.
        let reads = self.reads.through(self.store_on_caller_thread.clone());
        let ports = NativePorts {
            roms: self.outside.rows.rom_elfs.clone(),
            reads: reads.clone(),
            indexes: StoredIndexes {
                rows: self.outside.rows.symbol_indexes.clone(),
                reads,
                clock: self.clock(),
                wakeup: self.wakeups.clone(),
            },
            observe: Arc::new(move |source| metrics.count_index(source)),
        };
        NativeSymbolizer::new(ports, options.clone())
    }

    fn symbol_indexes(&self, indexer: Arc<NativeSymbolizer>) -> SymbolIndexes {
        let ports = SymbolIndexPorts {
            rows: self.outside.rows.symbol_indexes.clone(),
            store: self.store.clone(),
            reads: self.reads.clone(),
            indexer,
            clock: self.clock(),
            entropy: self.entropy(),
        };
        let parses = &self.config.coredumps.symbolication;
        let settings = SymbolIndexSettings {
            longest_attempt: parses.longest_attempt,
            most_attempts: parses.most_attempts,
            retry_delay: parses.retry_delays.first().copied().unwrap_or_default(),
        };
        SymbolIndexes::new(ports, settings)
    }

    fn coredumps(&self) -> Coredumps {
        Coredumps::new(CoredumpPorts {
            coredumps: self.outside.rows.coredumps.clone(),
            reads: self.reads.clone(),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        })
    }

    fn intake(&self, pruned: PrunedCoredumps) -> Intake {
        let directory = self.config.data_dir.join("rescue");
        let config = &self.config.coredumps;
        let ports = IntakePorts {
            deliveries: self.outside.rows.deliveries.clone(),
            coredumps: self.outside.rows.coredumps.clone(),
            // Each dump is written on a thread of its own where the store is a directory.
            store: self.store_on_caller_thread.clone(),
            spool: Arc::new(RescueDirectory::new(&directory, config.rescue_bytes)),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        };
        Intake::new(ports, config.intake.clone(), pruned)
    }

    fn symbolication(
        &self,
        symbolizer: Option<Arc<dyn Symbolizer>>,
        intake: &Intake,
        pruned: PrunedCoredumps,
    ) -> Symbolication {
        let ports = SymbolicationPorts {
            jobs: self.outside.rows.jobs.clone(),
            coredumps: self.outside.rows.coredumps.clone(),
            reads: self.reads.through(self.store_on_caller_thread.clone()),
            symbolizer,
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = self.config.coredumps.symbolication.clone();
        Symbolication::new(ports, settings, intake.arrivals().clone(), pruned)
    }

    fn upkeep(&self) -> Upkeep {
        let ports = UpkeepPorts {
            outbox: self.outside.rows.outbox.clone(),
            sweep: self.outside.rows.sweep.clone(),
            store: self.store.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = SweepSettings {
            grace: self.config.sweep.grace.max(Duration::from_secs(1)),
            kept_versions: self.config.firmware.kept_versions,
            symbols_kept: self.config.firmware.symbols_kept,
        };
        Upkeep::new(ports, settings)
    }
}
