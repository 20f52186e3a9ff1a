//! Puts the parts together: configuration, adapters, features.

use std::sync::Arc;
use std::time::Duration;

use coredock_artifact_store::ObjectArtifactStore;
use coredock_domain::coredumps::CoredumpPorts;
use coredock_domain::devices::DevicePorts;
use coredock_domain::firmware::{FirmwarePorts, FirmwareSettings};
use coredock_domain::repository::{
    CoredumpRepository, CrashGroupRepository, DeviceRepository, FirmwareRepository,
    ModelRepository, OutboxRepository, ParseJobRepository, PublicationRepository, RomElfRepository,
    SweepRepository,
};
use coredock_domain::rom_elfs::RomElfPorts;
use coredock_domain::sweep::SweepSettings;
use coredock_domain::upkeep::{UpkeepPorts, Wakeup};
use coredock_domain::verified_reads::VerifiedReads;
use coredock_domain::{
    ArtifactStore, Clock, Coredumps, DeviceModels, Devices, Entropy, Firmware, RomElfs, Symbolizer,
    Upkeep,
};
use coredock_repository::Database;

use crate::config::Config;
use crate::metered_store::MeteredStore;
use crate::metrics::Metrics;
use crate::native_symbolizer::{NativeOptions, NativePorts, NativeSymbolizer};
use crate::rescue_directory::RescueDirectory;
use crate::system::{SystemClock, SystemEntropy, WorkerWakeup};

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
    /// Dumps.
    pub coredumps: Arc<dyn CoredumpRepository>,
    /// The same rows, grouped.
    pub groups: Arc<dyn CrashGroupRepository>,
    /// The same rows as a queue.
    pub jobs: Arc<dyn ParseJobRepository>,
    /// Queued deletes.
    pub outbox: Arc<dyn OutboxRepository>,
    /// What the sweep asks.
    pub sweep: Arc<dyn SweepRepository>,
}

impl Rows {
    /// All of them in one database.
    pub fn of(database: &Database) -> Self {
        let rows = Arc::new(database.clone());
        Self {
            models: rows.clone(),
            devices: rows.clone(),
            versions: rows.clone(),
            publications: rows.clone(),
            rom_elfs: rows.clone(),
            coredumps: rows.clone(),
            groups: rows.clone(),
            jobs: rows.clone(),
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

/// What the outside is made of. Tests put wrappers here.
#[derive(Clone)]
pub struct Outside {
    /// The database itself, for health.
    pub database: Database,
    /// Where rows lie.
    pub rows: Rows,
    /// Where bytes lie.
    pub store: Arc<dyn ArtifactStore>,
    /// What kind of store that is, for health and metrics: `local`, `s3`.
    pub store_kind: &'static str,
    /// Who makes reports.
    pub engine: Engine,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Outside {
    /// The real clock and randomness over this database, this store and this engine.
    pub fn new(database: Database, store: ObjectArtifactStore, engine: Engine) -> Self {
        Self {
            rows: Rows::of(&database),
            database,
            store: Arc::new(store),
            store_kind: "local",
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
    /// Dumps.
    pub coredumps: Coredumps,
    /// Deletes and sweeps.
    pub upkeep: Upkeep,
    /// Every metric.
    pub metrics: Metrics,
    /// Wakes the worker of queued deletes.
    pub wakeup: Arc<WorkerWakeup>,
    /// Wakes a worker that parses.
    pub due: Arc<WorkerWakeup>,
    /// Wakes the worker of rescued dumps.
    pub rescued: Arc<WorkerWakeup>,
    /// The store with metrics.
    pub store: Arc<dyn ArtifactStore>,
}

impl Features {
    /// Builds every feature over the outside.
    pub fn new(config: &Config, outside: &Outside) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new()?;
        let wakeup = Arc::new(WorkerWakeup::default());
        let outbox: Arc<dyn Wakeup> = wakeup.clone();
        let store = Arc::clone(&outside.store);
        let store: Arc<dyn ArtifactStore> =
            Arc::new(MeteredStore::new(store, outside.store_kind, metrics.clone()));
        let rows = outside.rows.clone();
        let (clock, entropy) = (Arc::clone(&outside.clock), Arc::clone(&outside.entropy));
        let models = DeviceModels::new(rows.models.clone(), clock.clone(), outbox.clone());
        let ports = DevicePorts {
            devices: rows.devices,
            models: rows.models,
            clock: clock.clone(),
            entropy: entropy.clone(),
            outbox: outbox.clone(),
        };
        let devices = Devices::new(ports, config.devices.mode);
        let reads = VerifiedReads::new(store.clone(), clock.clone());
        let (due, rescued) = (Arc::<WorkerWakeup>::default(), Arc::<WorkerWakeup>::default());
        let ports = CoredumpPorts {
            coredumps: rows.coredumps,
            groups: rows.groups,
            jobs: rows.jobs,
            versions: rows.versions,
            store: store.clone(),
            reads: reads.clone(),
            symbolizer: symbolizer(outside, &reads, &metrics),
            clock: clock.clone(),
            entropy: entropy.clone(),
            rescue: Arc::new(rescue_directory(config)),
            rescued: rescued.clone(),
            outbox: outbox.clone(),
            due: due.clone(),
        };
        let coredumps = Coredumps::new(ports, config.coredumps.settings.clone());
        let firmware = firmware(config, outside, (&store, reads), &outbox);
        let rom_elfs = rom_elfs(outside, &store, &outbox);
        let ports = UpkeepPorts {
            outbox: rows.outbox,
            sweep: rows.sweep,
            store: store.clone(),
            clock,
            entropy,
            wakeup: outbox,
        };
        let upkeep = Upkeep::new(ports, sweep_settings(config));
        Ok(Self {
            models,
            devices,
            firmware,
            rom_elfs,
            coredumps,
            upkeep,
            metrics,
            wakeup,
            due,
            rescued,
            store,
        })
    }
}

fn symbolizer(
    outside: &Outside,
    reads: &VerifiedReads,
    metrics: &Metrics,
) -> Option<Arc<dyn Symbolizer>> {
    match &outside.engine {
        Engine::Off => None,
        Engine::Outside(symbolizer) => Some(Arc::clone(symbolizer)),
        Engine::Native(options) => {
            let ports = NativePorts {
                roms: outside.rows.rom_elfs.clone(),
                reads: reads.clone(),
                metrics: metrics.clone(),
            };
            Some(Arc::new(NativeSymbolizer::new(ports, options.clone())))
        }
    }
}

fn firmware(
    config: &Config,
    outside: &Outside,
    (store, reads): (&Arc<dyn ArtifactStore>, VerifiedReads),
    outbox: &Arc<dyn Wakeup>,
) -> Firmware {
    let ports = FirmwarePorts {
        versions: outside.rows.versions.clone(),
        publications: outside.rows.publications.clone(),
        store: Arc::clone(store),
        reads,
        clock: Arc::clone(&outside.clock),
        entropy: Arc::clone(&outside.entropy),
        outbox: Arc::clone(outbox),
    };
    let settings = FirmwareSettings {
        kept_versions: config.firmware.kept_versions,
        image_cache_bytes: IMAGE_CACHE_BYTES,
    };
    Firmware::new(ports, settings)
}

fn rom_elfs(
    outside: &Outside,
    store: &Arc<dyn ArtifactStore>,
    outbox: &Arc<dyn Wakeup>,
) -> RomElfs {
    RomElfs::new(RomElfPorts {
        rows: outside.rows.rom_elfs.clone(),
        leases: outside.rows.publications.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(&outside.clock),
        entropy: Arc::clone(&outside.entropy),
        outbox: Arc::clone(outbox),
    })
}

fn rescue_directory(config: &Config) -> RescueDirectory {
    RescueDirectory::new(&config.data_dir.join("rescue"), config.coredumps.rescue_bytes)
}

fn sweep_settings(config: &Config) -> SweepSettings {
    SweepSettings {
        grace: config.sweep.grace.max(Duration::from_secs(1)),
        kept_versions: config.firmware.kept_versions,
        symbols_kept: config.firmware.symbols_kept,
    }
}
