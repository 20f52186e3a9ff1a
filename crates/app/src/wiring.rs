//! Puts the parts together: configuration, adapters, features.

mod features;

use std::sync::Arc;

use coredock_domain::artifacts::verified_reads::VerifiedReads;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use coredock_domain::{
    ArtifactStore, Clock, Coredumps, DeviceModels, Devices, Entropy, Firmware, Intake, RomElfs,
    SymbolIndexes, Symbolication, Upkeep,
};

use crate::adapters::Adapters;
use crate::config::Config;
use crate::metered_store::MeteredStore;
use crate::metrics::Metrics;
use crate::system::WorkerWakeups;

/// The features of the server.
#[derive(Clone)]
pub struct Features {
    pub models: DeviceModels,
    pub devices: Devices,
    pub firmware: Firmware,
    pub rom_elfs: RomElfs,
    /// `None` where the engine needs no indexes.
    pub symbol_indexes: Option<SymbolIndexes>,
    pub coredumps: Coredumps,
    pub intake: Intake,
    pub symbolication: Symbolication,
    /// What the retention of dumps deleted.
    pub pruned: PrunedCoredumps,
    pub upkeep: Upkeep,
    pub metrics: Metrics,
    pub wakeups: Arc<WorkerWakeups>,
    /// The store with metrics.
    pub store: Arc<dyn ArtifactStore>,
}

impl Features {
    /// Builds every feature over the adapters.
    pub fn new(config: &Config, adapters: &Adapters) -> Result<Self, prometheus::Error> {
        let wiring = Wiring::new(config, adapters)?;
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
    adapters: &'a Adapters,
    store: Arc<dyn ArtifactStore>,
    store_on_caller_thread: Arc<dyn ArtifactStore>,
    reads: VerifiedReads,
    metrics: Metrics,
    wakeups: Arc<WorkerWakeups>,
}

impl<'a> Wiring<'a> {
    fn new(config: &'a Config, adapters: &'a Adapters) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new()?;
        let metered = |store: &Arc<dyn ArtifactStore>| -> Arc<dyn ArtifactStore> {
            Arc::new(MeteredStore::new(Arc::clone(store), adapters.stores.kind, metrics.clone()))
        };
        let store = metered(&adapters.stores.on_pool);
        let store_on_caller_thread = metered(&adapters.stores.on_caller_thread);
        let reads = VerifiedReads::new(store.clone(), Arc::clone(&adapters.clock));
        Ok(Self {
            config,
            adapters,
            store,
            store_on_caller_thread,
            reads,
            metrics,
            wakeups: Arc::default(),
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.adapters.clock)
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::clone(&self.adapters.entropy)
    }
}
