//! A parse job as a worker of the server takes and finishes it, with nothing to parse.

use std::time::Duration;

use coredock::system::SystemEntropy;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::symbolication::jobs::{ClaimJobs, FinishJob, ParseJob};
use coredock_domain::timestamp::Timestamp;

/// Defaults of the settings.
const LEASE: Duration = Duration::from_mins(5);
const MOST_ATTEMPTS: u32 = 3;

/// A claim of a new owner.
pub(super) fn claim(now: Timestamp) -> ClaimJobs {
    let owner = LeaseOwner::random(&SystemEntropy);
    ClaimJobs { owner, now, until: now.after(LEASE), most_attempts: MOST_ATTEMPTS, most_jobs: 1 }
}

/// An empty result of a job, from its owner.
pub(super) fn empty_result(
    (job, owner): (&ParseJob, LeaseOwner),
    now: Timestamp,
    kept_coredumps: u32,
) -> FinishJob {
    FinishJob {
        id: job.id,
        device_id: job.device_id,
        device: job.device.clone(),
        owner,
        now,
        fault: None,
        parsed_output: "empty".into(),
        report: None,
        signature: None,
        missing_elf: None,
        build_id: None,
        kept_coredumps,
    }
}
