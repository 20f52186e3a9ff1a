//! Claims and results of parse jobs as a worker of the server makes them, without parsing.

use std::time::Duration;

use coredock::system::SystemEntropy;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::symbolication::jobs::{ClaimJobs, FinishJob, ParseJob};
use coredock_domain::timestamp::Timestamp;

/// The default lease and the default number of attempts.
const LEASE: Duration = Duration::from_mins(5);
const MAX_ATTEMPTS: u32 = 3;

/// A claim of one job by a new owner.
pub(super) fn claim(now: Timestamp) -> ClaimJobs {
    let owner = LeaseOwner::random(&SystemEntropy);
    ClaimJobs { owner, now, until: now.after(LEASE), max_attempts: MAX_ATTEMPTS, max_jobs: 1 }
}

/// An empty result of a job, from its owner.
pub(super) fn empty_result(
    job: &ParseJob,
    owner: LeaseOwner,
    now: Timestamp,
    max_coredumps: u32,
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
        max_coredumps,
    }
}
