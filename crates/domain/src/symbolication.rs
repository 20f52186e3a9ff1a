//! From a stored dump to its report (contract §6.5–§6.9).

mod attempt;
mod batch;
mod elf_choice;
pub mod index_jobs;
pub mod indexes;
pub mod jobs;
mod stored_elf;
pub mod symbolizer;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use crate::artifacts::verified_reads::VerifiedReads;
use crate::clock::{Clock, Entropy};
use crate::coredumps::pruned::PrunedCoredumps;
use crate::coredumps::repository::CoredumpRepository;
use crate::error::RepositoryError;
use crate::intake::arrivals::Arrivals;
use crate::symbolication::jobs::{ParseJobRepository, QueueState};
use crate::symbolication::symbolizer::Symbolizer;
use crate::wakeup::Wakeup;

pub struct SymbolicationPorts {
    pub jobs: Arc<dyn ParseJobRepository>,
    pub coredumps: Arc<dyn CoredumpRepository>,
    pub reads: VerifiedReads,
    /// `None` when parsing is disabled; then dumps stay pending.
    pub symbolizer: Option<Arc<dyn Symbolizer>>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The limits under which dumps are parsed.
#[derive(Debug, Clone)]
pub struct SymbolicationSettings {
    /// Retention keeps this many dumps of a device (`MAX_COREDUMPS`).
    pub max_coredumps: u32,
    /// After this time without a renewal another worker may claim a job (`PARSE_LEASE_SECONDS`).
    pub lease: Duration,
    /// Time limit of an attempt (`PARSE_TIMEOUT_SECONDS`).
    pub attempt_timeout: Duration,
    /// Attempts per job (`PARSE_MAX_ATTEMPTS`).
    pub max_attempts: u32,
    /// Delays before the second attempt, the third, and so on; the last delay is repeated
    /// (`PARSE_RETRY_DELAYS`).
    pub retry_delays: Vec<Duration>,
    /// Maximum number of jobs in one claim; more than 1 only if an attempt takes milliseconds.
    pub max_claimed: u32,
}

/// The use cases of symbolication.
#[derive(Clone)]
pub struct Symbolication {
    ports: Arc<SymbolicationPorts>,
    settings: Arc<SymbolicationSettings>,
    /// One body is unwrapped at a time, because a hostile body may need a second and 200 MiB.
    unwrapping: Arc<futures::lock::Mutex<()>>,
    arrivals: Arrivals,
    pruned: PrunedCoredumps,
}

impl Symbolication {
    /// `arrivals` are the arrivals of the intake, which has priority; `pruned` counts the dumps
    /// which retention deletes when a job ends.
    pub fn new(
        ports: SymbolicationPorts,
        settings: SymbolicationSettings,
        arrivals: Arrivals,
        pruned: PrunedCoredumps,
    ) -> Self {
        Self {
            ports: Arc::new(ports),
            settings: Arc::new(settings),
            unwrapping: Arc::default(),
            arrivals,
            pruned,
        }
    }

    /// `None` when parsing is disabled.
    pub fn symbolizer(&self) -> Option<&Arc<dyn Symbolizer>> {
        self.ports.symbolizer.as_ref()
    }

    /// The number of dumps in each state.
    pub async fn queue(&self) -> Result<QueueState, RepositoryError> {
        self.ports.jobs.queue(self.ports.clock.now()).await
    }
}
