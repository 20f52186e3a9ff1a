//! Intake: from the last byte of a dump's body to its row (contract §4.5, §6.1–§6.3).

pub mod arrivals;
pub mod fair_queue;
pub mod receive;
pub mod replay;
pub mod repository;
pub mod spool;

use std::sync::Arc;
use std::time::Duration;

use crate::artifacts::store::ArtifactStore;
use crate::clock::Clock;
use crate::coredumps::pruned::PrunedCoredumps;
use crate::coredumps::repository::CoredumpRepository;
use crate::intake::arrivals::Arrivals;
use crate::intake::fair_queue::FairQueue;
use crate::intake::repository::IntakeRepository;
use crate::intake::spool::RescueSpool;
use crate::wakeup::Wakeup;

pub struct IntakePorts {
    pub deliveries: Arc<dyn IntakeRepository>,
    pub coredumps: Arc<dyn CoredumpRepository>,
    pub store: Arc<dyn ArtifactStore>,
    pub spool: Arc<dyn RescueSpool>,
    pub clock: Arc<dyn Clock>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The limits under which dumps are received.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Maximum size of a body in bytes (`MAX_COREDUMP_BYTES`).
    pub max_body_bytes: u64,
    /// Retention keeps this many dumps of a device (`MAX_COREDUMPS`).
    pub max_coredumps: u32,
    /// How long the same body from the same device counts as the same dump; zero disables this
    /// (`COREDUMP_DEDUPE_SECONDS`).
    pub deduplication_window: Duration,
}

/// The use cases of intake: receiving, rescuing during an outage, replaying afterwards.
#[derive(Clone)]
pub struct Intake {
    ports: Arc<IntakePorts>,
    settings: Arc<IntakeSettings>,
    queue: Arc<FairQueue>,
    arrivals: Arrivals,
    pruned: PrunedCoredumps,
}

impl Intake {
    /// `pruned` counts the dumps which retention deletes when a dump is recorded.
    pub fn new(ports: IntakePorts, settings: IntakeSettings, pruned: PrunedCoredumps) -> Self {
        Self {
            ports: Arc::new(ports),
            settings: Arc::new(settings),
            queue: Arc::default(),
            arrivals: Arrivals::default(),
            pruned,
        }
    }

    pub fn settings(&self) -> &IntakeSettings {
        &self.settings
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}
