//! Processor time and memory of the child processes of this process.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// Sums over all children which ended and were waited for, and over their children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) processor: Duration,
    /// The largest resident size of a single process.
    pub(super) peak_kib: u64,
}

impl Usage {
    pub(super) fn of_children() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
        let processor = duration(usage.user_time())? + duration(usage.system_time())?;
        Ok(Self { processor, peak_kib: u64::try_from(usage.max_rss())? })
    }
}

fn duration(time: TimeVal) -> Result<Duration> {
    Ok(Duration::from_micros(u64::try_from(time.num_microseconds())?))
}
