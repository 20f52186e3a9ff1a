//! From the delivery of a dump to its row (contract §4.5, §6.1–§6.3): no crash is lost.

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

/// What the intake of dumps works with.
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
    /// Largest body in bytes (`MAX_COREDUMP_BYTES`).
    pub largest_body: u64,
    /// Dumps kept per device (`MAX_COREDUMPS`).
    pub kept_coredumps: u32,
    /// How long the same body from the same device counts as the same dump; zero: never
    /// (`COREDUMP_DEDUPE_SECONDS`).
    pub same_body_for: Duration,
}

/// The intake of dumps: receiving, rescuing during an outage, replaying afterwards.
#[derive(Clone)]
pub struct Intake {
    ports: Arc<IntakePorts>,
    settings: Arc<IntakeSettings>,
    queue: Arc<FairQueue>,
    arrivals: Arrivals,
    pruned: PrunedCoredumps,
}

impl Intake {
    /// `pruned` counts what retention deletes on the way.
    pub fn new(ports: IntakePorts, settings: IntakeSettings, pruned: PrunedCoredumps) -> Self {
        Self {
            ports: Arc::new(ports),
            settings: Arc::new(settings),
            queue: Arc::default(),
            arrivals: Arrivals::default(),
            pruned,
        }
    }

    /// The limits in force.
    pub fn settings(&self) -> &IntakeSettings {
        &self.settings
    }

    /// How many dumps are being received at the moment.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}
