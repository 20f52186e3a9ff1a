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

/// What symbolication works with.
pub struct SymbolicationPorts {
    pub jobs: Arc<dyn ParseJobRepository>,
    pub coredumps: Arc<dyn CoredumpRepository>,
    pub reads: VerifiedReads,
    /// `None`: jobs wait.
    pub symbolizer: Option<Arc<dyn Symbolizer>>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The limits under which dumps are parsed.
#[derive(Debug, Clone)]
pub struct SymbolicationSettings {
    /// Dumps kept per device (`MAX_COREDUMPS`).
    pub kept_coredumps: u32,
    /// How long a silent worker keeps a job (`PARSE_LEASE_SECONDS`).
    pub lease: Duration,
    /// Longest attempt (`PARSE_TIMEOUT_SECONDS`).
    pub longest_attempt: Duration,
    /// Attempts per job (`PARSE_MAX_ATTEMPTS`).
    pub most_attempts: u32,
    /// Delays before the second attempt, the third, and so on; the last one goes on
    /// (`PARSE_RETRY_DELAYS`).
    pub retry_delays: Vec<Duration>,
    /// Jobs which one claim takes: more than 1 only if each is a matter of milliseconds.
    pub most_claimed: u32,
}

/// Makes reports of stored dumps.
#[derive(Clone)]
pub struct Symbolication {
    ports: Arc<SymbolicationPorts>,
    settings: Arc<SymbolicationSettings>,
    /// One body at a time: a hostile one may take a second and 200 MiB.
    unwrapping: Arc<futures::lock::Mutex<()>>,
    arrivals: Arrivals,
    pruned: PrunedCoredumps,
}

impl Symbolication {
    /// `arrivals` are those of the intake, which goes first; `pruned` counts what retention deletes
    /// on the way.
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

    /// The engine, if there is one.
    pub fn symbolizer(&self) -> Option<&Arc<dyn Symbolizer>> {
        self.ports.symbolizer.as_ref()
    }

    /// How many dumps there are in which state.
    pub async fn queue(&self) -> Result<QueueState, RepositoryError> {
        self.ports.jobs.queue(self.ports.clock.now()).await
    }
}
