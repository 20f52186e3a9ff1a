//! What child processes of this one took.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// Of all children that have ended and were waited for, and of theirs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) processor: Duration,
    /// The largest resident size that one of the processes had.
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
