//! Puts the parts together: configuration, adapters, features.

mod features;
mod identity;

use std::sync::Arc;

use coredock_domain::artifacts::verified_reads::VerifiedReads;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use coredock_domain::identity::sessions::Sessions;
use coredock_domain::{
    ArtifactStore, Clock, Coredumps, DeviceModels, Devices, Entropy, Firmware, Intake, RomElfs,
    SymbolIndexes, Symbolication, TokenVerifier, Upkeep,
};
use coredock_identity::{FetchError, Provider, SealError};

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
    /// `None` without authentication.
    pub verifier: Option<Arc<dyn TokenVerifier>>,
    /// `None` without authentication.
    pub sessions: Option<Sessions>,
    /// The provider whose tokens the verifier checks.
    pub provider: Option<Arc<Provider>>,
    pub metrics: Metrics,
    pub wakeups: Arc<WorkerWakeups>,
    /// The store with metrics.
    pub store: Arc<dyn ArtifactStore>,
}

/// Why the features could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    #[error("the metrics could not be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("no client for the identity provider could be made")]
    IdentityProvider(#[from] FetchError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Features {
    /// Builds every feature over the adapters.
    pub fn new(config: &Config, adapters: &Adapters) -> Result<Self, WiringError> {
        let wiring = Wiring::new(config, adapters)?;
        let (symbolizer, symbol_indexes) = wiring.engine();
        let identity = wiring.identity()?;
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
            verifier: identity.as_ref().map(|identity| identity.verifier.clone()),
            sessions: identity.as_ref().map(|identity| identity.sessions.clone()),
            provider: identity.map(|identity| identity.provider),
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
