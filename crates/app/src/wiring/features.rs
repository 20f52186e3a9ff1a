//! Builds each feature over its ports.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::coredumps::CoredumpPorts;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use coredock_domain::devices::DevicePorts;
use coredock_domain::firmware::{FirmwarePorts, FirmwareSettings};
use coredock_domain::intake::IntakePorts;
use coredock_domain::models::ModelPorts;
use coredock_domain::rom_elfs::RomElfPorts;
use coredock_domain::symbolication::SymbolicationPorts;
use coredock_domain::symbolication::indexes::{
    StoredIndexes, SymbolIndexPorts, SymbolIndexSettings,
};
use coredock_domain::upkeep::UpkeepPorts;
use coredock_domain::upkeep::sweep::SweepSettings;
use coredock_domain::{
    Coredumps, DeviceModels, Devices, Firmware, Intake, RomElfs, SymbolIndexes, Symbolication,
    Symbolizer, Upkeep,
};
use coredock_symbolizer_native::{NativeOptions, NativePorts, NativeSymbolizer};

use super::Wiring;
use crate::adapters::Engine;
use crate::rescue_directory::RescueDirectory;

/// Images kept in memory: a fleet seldom rolls out more than a few at once, of 1–2 MB each.
const IMAGE_CACHE_BYTES: u64 = 16 * 1024 * 1024;

impl Wiring<'_> {
    pub(super) fn models(&self) -> DeviceModels {
        DeviceModels::new(ModelPorts {
            models: self.adapters.rows.models.clone(),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        })
    }

    pub(super) fn devices(&self) -> Devices {
        let ports = DevicePorts {
            devices: self.adapters.rows.devices.clone(),
            models: self.adapters.rows.models.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        Devices::new(ports, self.config.devices.mode)
    }

    pub(super) fn firmware(&self) -> Firmware {
        let ports = FirmwarePorts {
            versions: self.adapters.rows.versions.clone(),
            publications: self.adapters.rows.publications.clone(),
            store: self.store.clone(),
            reads: self.reads.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = FirmwareSettings {
            max_versions: self.config.firmware.max_versions,
            image_cache_bytes: IMAGE_CACHE_BYTES,
        };
        Firmware::new(ports, settings)
    }

    pub(super) fn rom_elfs(&self) -> RomElfs {
        RomElfs::new(RomElfPorts {
            rom_elfs: self.adapters.rows.rom_elfs.clone(),
            leases: self.adapters.rows.publications.clone(),
            store: self.store.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        })
    }

    /// The engine, and the indexes it needs.
    pub(super) fn engine(&self) -> (Option<Arc<dyn Symbolizer>>, Option<SymbolIndexes>) {
        match &self.adapters.engine {
            Engine::Off => (None, None),
            Engine::External(symbolizer) => (Some(Arc::clone(symbolizer)), None),
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
            roms: self.adapters.rows.parsing.rom_elfs.clone(),
            reads: reads.clone(),
            indexes: StoredIndexes {
                repository: self.adapters.rows.parsing.symbol_indexes.clone(),
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
            repository: self.adapters.rows.symbol_indexes.clone(),
            store: self.store.clone(),
            reads: self.reads.clone(),
            indexer,
            clock: self.clock(),
            entropy: self.entropy(),
        };
        let parses = &self.config.coredumps.symbolication;
        let settings = SymbolIndexSettings {
            attempt_timeout: parses.attempt_timeout,
            max_attempts: parses.max_attempts,
            retry_delay: parses.retry_delays.first().copied().unwrap_or_default(),
        };
        SymbolIndexes::new(ports, settings)
    }

    pub(super) fn coredumps(&self) -> Coredumps {
        Coredumps::new(CoredumpPorts {
            coredumps: self.adapters.rows.coredumps.clone(),
            reads: self.reads.clone(),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        })
    }

    pub(super) fn intake(&self, pruned: PrunedCoredumps) -> Intake {
        let directory = self.config.data_dir.join("rescue");
        let config = &self.config.coredumps;
        let ports = IntakePorts {
            deliveries: self.adapters.rows.deliveries.clone(),
            coredumps: self.adapters.rows.coredumps.clone(),
            // Each dump is written on a thread of its own where the store is a directory.
            store: self.store_on_caller_thread.clone(),
            spool: Arc::new(RescueDirectory::new(&directory, config.rescue_bytes)),
            clock: self.clock(),
            wakeup: self.wakeups.clone(),
        };
        Intake::new(ports, config.intake.clone(), pruned)
    }

    pub(super) fn symbolication(
        &self,
        symbolizer: Option<Arc<dyn Symbolizer>>,
        intake: &Intake,
        pruned: PrunedCoredumps,
    ) -> Symbolication {
        let ports = SymbolicationPorts {
            jobs: self.adapters.rows.jobs.clone(),
            coredumps: self.adapters.rows.coredumps.clone(),
            reads: self.reads.through(self.store_on_caller_thread.clone()),
            symbolizer,
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = self.config.coredumps.symbolication.clone();
        Symbolication::new(ports, settings, intake.arrivals().clone(), pruned)
    }

    pub(super) fn upkeep(&self) -> Upkeep {
        let ports = UpkeepPorts {
            outbox: self.adapters.rows.outbox.clone(),
            sweep: self.adapters.rows.sweep.clone(),
            store: self.store.clone(),
            clock: self.clock(),
            entropy: self.entropy(),
            wakeup: self.wakeups.clone(),
        };
        let settings = SweepSettings {
            grace: self.config.sweep.grace.max(Duration::from_secs(1)),
            max_versions: self.config.firmware.max_versions,
            symbol_retention: self.config.firmware.symbol_retention,
        };
        Upkeep::new(ports, settings)
    }
}
